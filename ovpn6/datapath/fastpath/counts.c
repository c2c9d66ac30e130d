// SPDX-License-Identifier: Apache-2.0
/* The names of what is counted. */

#include "counts.h"

const char *const fp_drop_names[FP_DROPS] = {
	[FP_DROP_TUNNEL_NOT_IP] = "tunnel not IP",
	[FP_DROP_TUNNEL_NO_PEER] = "tunnel no peer",
	[FP_DROP_TUNNEL_MULTICAST] = "tunnel multicast",
	[FP_DROP_TUNNEL_NO_KEY] = "tunnel no key",
	[FP_DROP_TUNNEL_KEY_EXHAUSTED] = "tunnel key exhausted",
	[FP_DROP_TUNNEL_OFFLOAD] = "tunnel offload header",
	[FP_DROP_TUNNEL_TOO_LONG] = "tunnel packet too long",
	[FP_DROP_SEND_CLOSED] = "send closed link",
	[FP_DROP_SEND_TCP_FULL] = "send tcp queue full",
	[FP_DROP_PING_KEY_EXHAUSTED] = "ping key exhausted",
	[FP_DROP_EXIT_KEY_EXHAUSTED] = "exit key exhausted",
	[FP_DROP_EMPTY] = "empty datagram",
	[FP_DROP_DATA_V1] = "data version 1",
	[FP_DROP_CONTROL_LONG] = "control packet too long",
	[FP_DROP_CONTROL_QUEUE] = "control queue full",
	[FP_DROP_OPCODE] = "unknown opcode",
	[FP_DROP_UNKNOWN_PEER] = "data unknown peer",
	[FP_DROP_NO_KEY] = "data no key",
	[FP_DROP_MALFORMED] = "data malformed",
	[FP_DROP_AUTHENTICATION] = "data authentication",
	[FP_DROP_REPLAY] = "data replay",
	[FP_DROP_UNKNOWN_EPOCH] = "data unknown epoch",
	[FP_DROP_COMPRESSED] = "data compressed",
	[FP_DROP_OTHER_ADDRESS] = "data from another address",
	[FP_DROP_MOVES] = "data moves too often",
	[FP_DROP_FLOAT_CONFLICT] = "data float conflict",
	[FP_DROP_OCC] = "data occ message",
	[FP_DROP_INNER_NOT_IP] = "inner not IP",
	[FP_DROP_INNER_LENGTH] = "inner length",
	[FP_DROP_INNER_SOURCE] = "inner source address",
	[FP_DROP_INNER_ECN] = "inner without ECN met congestion",
	[FP_DROP_TUNNEL_CLOSED] = "tunnel write closed",
	[FP_DROP_TCP_LENGTH] = "tcp frame length",
	[FP_DROP_REPORT_QUEUE] = "report queue full",
	[FP_DROP_TUNNEL_ELSEWHERE] = "tunnel another worker's",
	[FP_DROP_DATA_ELSEWHERE] = "data another worker's",
};

const char *const fp_call_names[FP_CALLS] = {
	[FP_CALL_SEND] = "send",
	[FP_CALL_RECEIVE] = "receive",
	[FP_CALL_TUNNEL_READ] = "tunnel read",
	[FP_CALL_TUNNEL_WRITE] = "tunnel write",
};
