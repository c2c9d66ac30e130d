// SPDX-License-Identifier: Apache-2.0
/* The program is written as instructions, so that no compiler for BPF is needed. */

#include "steer.h"

#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST_PREFIXES (1u << 20)
#define MAPPED_BITS 96

/* What is looked up, as a trie of longest prefixes wants it. */
struct prefix {
	uint32_t length;
	uint8_t address[16];
};

/* Where the program has it on its stack, and before it the packet's first octet. */
#define AT_PREFIX (-20)
#define AT_ADDRESS (-16)
#define AT_MAPPED (-8)
#define AT_ADDRESS4 (-4)
#define AT_FIRST (-24)

#define DESTINATION6 24
#define DESTINATION4 16

#define REGISTER(operation, to, from) \
	{ .code = BPF_ALU64 | (operation) | BPF_X, .dst_reg = (to), .src_reg = (from) }
#define NUMBER(operation, to, value) \
	{ .code = BPF_ALU64 | (operation) | BPF_K, .dst_reg = (to), .imm = (value) }
#define STORE(size, at, value) \
	{ .code = BPF_ST | BPF_MEM | (size), .dst_reg = BPF_REG_10, .off = (at), .imm = (value) }
#define LOAD(size, to, from, at) \
	{ .code = BPF_LDX | BPF_MEM | (size), .dst_reg = (to), .src_reg = (from), .off = (at) }
#define JUMP(condition, which, value, over) \
	{ .code = BPF_JMP | (condition) | BPF_K, .dst_reg = (which), .imm = (value), .off = (over) }
#define CALL(function) { .code = BPF_JMP | BPF_CALL, .imm = (function) }
#define EXIT { .code = BPF_JMP | BPF_EXIT }
/* Six instructions; the context is in the sixth register. */
#define LOAD_PACKET(offset, at, octets)                                             \
	REGISTER(BPF_MOV, BPF_REG_1, BPF_REG_6), NUMBER(BPF_MOV, BPF_REG_2, (offset)), \
		REGISTER(BPF_MOV, BPF_REG_3, BPF_REG_10), NUMBER(BPF_ADD, BPF_REG_3, (at)), \
		NUMBER(BPF_MOV, BPF_REG_4, (octets)), CALL(BPF_FUNC_skb_load_bytes)
/* Two instructions. */
#define LOAD_MAP(to, map)                                                               \
	{ .code = BPF_LD | BPF_DW | BPF_IMM,                                            \
	  .dst_reg = (to),                                                              \
	  .src_reg = BPF_PSEUDO_MAP_FD,                                                 \
	  .imm = (map) },                                                               \
	{                                                                               \
		0                                                                       \
	}

static int bpf(enum bpf_cmd command, union bpf_attr *attributes)
{
	return (int)syscall(SYS_bpf, command, attributes, sizeof(*attributes));
}

static int open_map(void)
{
	union bpf_attr attributes;

	memset(&attributes, 0, sizeof(attributes));
	attributes.map_type = BPF_MAP_TYPE_LPM_TRIE;
	attributes.key_size = sizeof(struct prefix);
	attributes.value_size = sizeof(uint32_t);
	attributes.max_entries = MOST_PREFIXES;
	attributes.map_flags = BPF_F_NO_PREALLOC;
	strcpy(attributes.map_name, "ovpn6_prefixes");
	return bpf(BPF_MAP_CREATE, &attributes);
}

static int open_program(int map)
{
	const uint8_t mapped[4] = { 0, 0, 0xff, 0xff };
	union bpf_attr attributes;
	int32_t marker;

	memcpy(&marker, mapped, sizeof(marker));
	const struct bpf_insn program[] = {
		REGISTER(BPF_MOV, BPF_REG_6, BPF_REG_1),
		LOAD_PACKET(0, AT_FIRST, 1),
		JUMP(BPF_JNE, BPF_REG_0, 0, 30),
		LOAD(BPF_B, BPF_REG_7, BPF_REG_10, AT_FIRST),
		NUMBER(BPF_RSH, BPF_REG_7, 4),
		STORE(BPF_W, AT_PREFIX, 8 * 16),
		JUMP(BPF_JEQ, BPF_REG_7, 4, 9),
		JUMP(BPF_JNE, BPF_REG_7, 6, 25),
		/* IPv6 */
		LOAD_PACKET(DESTINATION6, AT_ADDRESS, 16),
		JUMP(BPF_JNE, BPF_REG_0, 0, 18),
		JUMP(BPF_JA, BPF_REG_0, 0, 9),
		/* IPv4 */
		STORE(BPF_DW, AT_ADDRESS, 0),
		STORE(BPF_W, AT_MAPPED, marker),
		LOAD_PACKET(DESTINATION4, AT_ADDRESS4, 4),
		JUMP(BPF_JNE, BPF_REG_0, 0, 8),
		/* the queue, where there is one */
		LOAD_MAP(BPF_REG_1, map),
		REGISTER(BPF_MOV, BPF_REG_2, BPF_REG_10),
		NUMBER(BPF_ADD, BPF_REG_2, AT_PREFIX),
		CALL(BPF_FUNC_map_lookup_elem),
		JUMP(BPF_JEQ, BPF_REG_0, 0, 2),
		LOAD(BPF_W, BPF_REG_0, BPF_REG_0, 0),
		EXIT,
		/* nobody's */
		NUMBER(BPF_MOV, BPF_REG_0, 0),
		EXIT,
	};

	memset(&attributes, 0, sizeof(attributes));
	attributes.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
	attributes.insns = (uint64_t)(uintptr_t)program;
	attributes.insn_cnt = sizeof(program) / sizeof(program[0]);
	attributes.license = (uint64_t)(uintptr_t) "Apache-2.0";
	strcpy(attributes.prog_name, "ovpn6_steer");
	return bpf(BPF_PROG_LOAD, &attributes);
}

int fp_steering_open(struct fp_steering *steering)
{
	int error;

	steering->program = -1;
	steering->map = open_map();
	if (steering->map < 0)
		return errno;
	steering->program = open_program(steering->map);
	if (steering->program >= 0)
		return 0;
	error = errno;
	fp_steering_close(steering);
	return error;
}

void fp_steering_close(struct fp_steering *steering)
{
	if (steering->map >= 0)
		close(steering->map);
	if (steering->program >= 0)
		close(steering->program);
	steering->map = steering->program = -1;
}

static struct prefix make_prefix(const uint8_t *address, size_t size, unsigned int length)
{
	struct prefix made = { .length = length };

	if (size == sizeof(made.address)) {
		memcpy(made.address, address, size);
	} else {
		made.length += MAPPED_BITS;
		made.address[10] = made.address[11] = 0xff;
		memcpy(made.address + 12, address, size);
	}
	return made;
}

static int change(const struct fp_steering *steering, enum bpf_cmd command,
		  const struct prefix *prefix, const uint32_t *queue)
{
	union bpf_attr attributes;

	memset(&attributes, 0, sizeof(attributes));
	attributes.map_fd = (uint32_t)steering->map;
	attributes.key = (uint64_t)(uintptr_t)prefix;
	attributes.value = (uint64_t)(uintptr_t)queue;
	return bpf(command, &attributes) == 0 ? 0 : errno;
}

int fp_steer(const struct fp_steering *steering, const uint8_t *address, size_t size,
	     unsigned int length, uint32_t queue)
{
	struct prefix prefix = make_prefix(address, size, length);

	return change(steering, BPF_MAP_UPDATE_ELEM, &prefix, &queue);
}

int fp_unsteer(const struct fp_steering *steering, const uint8_t *address, size_t size,
	       unsigned int length)
{
	struct prefix prefix = make_prefix(address, size, length);
	int error = change(steering, BPF_MAP_DELETE_ELEM, &prefix, NULL);

	return error == ENOENT ? 0 : error;
}
