// SPDX-License-Identifier: Apache-2.0
/* One system call for many datagrams each way, and what to do where the kernel cannot. */

#include "udp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* linux/in6.h, which does not go with netinet/in.h. */
#ifndef IPV6_FLOWINFO
#define IPV6_FLOWINFO 11
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

/* The longest datagram, with room so that neighbours are not of the same sets of the cache. */
#define OVERFLOW (FP_BATCH_SLOT + 65536)

/* How long a full socket is waited for, in all; then datagrams are dropped as on any full link. */
#define FULL_WAITS 20
#define FULL_MILLISECONDS 1

union ancillary {
	struct cmsghdr align;
	uint8_t octets[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(uint16_t)) +
		       CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(uint32_t))];
};

static struct cmsghdr *add_ancillary(struct msghdr *message, int level, int type, size_t size)
{
	struct cmsghdr *header =
		(struct cmsghdr *)((uint8_t *)message->msg_control + message->msg_controllen);

	header->cmsg_level = level;
	header->cmsg_type = type;
	header->cmsg_len = CMSG_LEN(size);
	message->msg_controllen += CMSG_SPACE(size);
	return header;
}

/* The datagrams leave from the address that the peer knows. */
static void add_source(struct msghdr *message, const struct fp_link *link,
		       const struct fp_path *path)
{
	struct cmsghdr *header;

	if (path->local_size == 0)
		return;
	if (link->family == AF_INET) {
		struct in_pktinfo info = { 0 };

		memcpy(&info.ipi_spec_dst, path->local, sizeof(info.ipi_spec_dst));
		header = add_ancillary(message, IPPROTO_IP, IP_PKTINFO, sizeof(info));
		memcpy(CMSG_DATA(header), &info, sizeof(info));
	} else {
		struct in6_pktinfo info = { 0 };
		struct sockaddr_in6 remote;

		memcpy(&remote, path->key.address, sizeof(remote));
		info.ipi6_ifindex = remote.sin6_scope_id;
		memcpy(&info.ipi6_addr, path->local, sizeof(info.ipi6_addr));
		header = add_ancillary(message, IPPROTO_IPV6, IPV6_PKTINFO, sizeof(info));
		memcpy(CMSG_DATA(header), &info, sizeof(info));
	}
}

/* To a v4-mapped address an IPv6 socket sends IPv4, which heeds IPv4's kind alone. */
static void add_traffic_class(struct msghdr *message, const struct fp_link *link,
			      const struct fp_path *path, uint8_t traffic_class)
{
	const int value = traffic_class;
	struct sockaddr_in6 remote;
	struct cmsghdr *header;

	if (traffic_class == 0)
		return;
	memcpy(&remote, path->key.address, sizeof(remote));
	if (link->family == AF_INET || IN6_IS_ADDR_V4MAPPED(&remote.sin6_addr))
		header = add_ancillary(message, IPPROTO_IP, IP_TOS, sizeof(value));
	else
		header = add_ancillary(message, IPPROTO_IPV6, IPV6_TCLASS, sizeof(value));
	memcpy(CMSG_DATA(header), &value, sizeof(value));
}

/*
 * Nobody has to own the label (flow label manager) but where somebody in the network namespace owns
 * one for himself alone: then sendmsg() takes only owned ones, and says EINVAL.
 */
static void add_flow_label(struct msghdr *message, const struct fp_link *link,
			   const struct fp_path *path, uint32_t flow_label)
{
	const uint32_t value = htonl(flow_label);
	struct sockaddr_in6 remote;

	if (flow_label == 0 || link->family == AF_INET ||
	    !atomic_load_explicit(&link->label, memory_order_relaxed))
		return;
	memcpy(&remote, path->key.address, sizeof(remote));
	if (!IN6_IS_ADDR_V4MAPPED(&remote.sin6_addr))
		memcpy(CMSG_DATA(add_ancillary(message, IPPROTO_IPV6, IPV6_FLOWINFO, sizeof(value))),
		       &value, sizeof(value));
}

static int send_waiting(int socket, const struct msghdr *message)
{
	for (int waited = 0;; waited++) {
		struct pollfd full = { .fd = socket, .events = POLLOUT };

		if (sendmsg(socket, message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
			return 0;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN || waited == FULL_WAITS)
			return errno;
		poll(&full, 1, FULL_MILLISECONDS);
	}
}

bool fp_udp_has_trains(int descriptor)
{
	socklen_t size = sizeof(int);
	int value;

	return getsockopt(descriptor, SOL_UDP, UDP_SEGMENT, &value, &size) == 0;
}

/* Told once. */
static void give_up(struct fp_link *link, _Atomic bool *ability, enum fp_notice notice, int error)
{
	struct fp_report report = {
		.kind = FP_REPORT_NOTICE,
		.link = link->id,
		.other = notice,
		.value = error,
	};

	if (atomic_exchange_explicit(ability, false, memory_order_relaxed))
		fp_queue_push(link->queue, &report, NULL, 0);
}

void fp_udp_give_up_trains(struct fp_link *link, int error)
{
	give_up(link, &link->segment, FP_NOTICE_NO_SEGMENT, error);
}

/* Without the label, which is the last of what the message says, where that is what is refused. */
static int send_labelled(struct fp_link *link, int socket, struct msghdr *message,
			 size_t unlabelled)
{
	int error = send_waiting(socket, message);

	if (error != EINVAL || message->msg_controllen == unlabelled)
		return error;
	message->msg_controllen = unlabelled;
	error = send_waiting(socket, message);
	if (error == 0)
		give_up(link, &link->label, FP_NOTICE_NO_LABEL, EINVAL);
	return error;
}

/*
 * A single datagram. What the route's MTU refuses over IPv4 is let go in fragments: the socket says
 * IP_PMTUDISC_DO, because only then trains have DF, and whoever cuts what has none (a NAT64 cuts
 * more than is too long) does not cut ours. Trains of other threads lack it for these moments.
 */
static int send_single(struct fp_link *link, int socket, struct msghdr *message,
		       size_t unlabelled)
{
	const int heed = IP_PMTUDISC_WANT, whole = IP_PMTUDISC_DO;
	int error = send_labelled(link, socket, message, unlabelled);

	if (error != EMSGSIZE)
		return error;
	pthread_mutex_lock(&link->lock);
	setsockopt(socket, IPPROTO_IP, IP_MTU_DISCOVER, &heed, sizeof(heed));
	error = send_labelled(link, socket, message, unlabelled);
	setsockopt(socket, IPPROTO_IP, IP_MTU_DISCOVER, &whole, sizeof(whole));
	pthread_mutex_unlock(&link->lock);
	return error;
}

static void send_singly(struct fp_link *link, int socket, const struct fp_path *path,
			struct msghdr *message, const struct fp_train *train,
			struct fp_counts *counts)
{
	size_t unlabelled = message->msg_controllen;

	add_flow_label(message, link, path, train->flow_label);
	for (size_t at = 0; at < train->length; at += train->size) {
		size_t left = train->length - at;
		int error;

		message->msg_iov->iov_base = (void *)(train->octets + at);
		message->msg_iov->iov_len = left < train->size ? left : train->size;
		error = send_single(link, socket, message, unlabelled);
		if (error != 0)
			fp_error(counts, FP_CALL_SEND, error, 1);
	}
}

void fp_udp_send(struct fp_link *link, uint32_t lane, const struct fp_path *path,
		 const struct fp_train *train, struct fp_counts *counts)
{
	union ancillary ancillary = { 0 };
	struct iovec whole = { (void *)train->octets, train->length };
	struct msghdr message = {
		.msg_name = (void *)path->key.address,
		.msg_namelen = (socklen_t)fp_address_size(link),
		.msg_iov = &whole,
		.msg_iovlen = 1,
		.msg_control = &ancillary,
	};
	uint16_t size = (uint16_t)train->size;
	int socket = link->sockets[lane];
	size_t single, unlabelled;
	int error;

	add_source(&message, link, path);
	add_traffic_class(&message, link, path, train->traffic_class);
	single = message.msg_controllen;
	if (train->count > 1 && !atomic_load_explicit(&link->segment, memory_order_relaxed)) {
		send_singly(link, socket, path, &message, train, counts);
		return;
	}
	if (train->count > 1)
		memcpy(CMSG_DATA(add_ancillary(&message, SOL_UDP, UDP_SEGMENT, sizeof(size))),
		       &size, sizeof(size));
	unlabelled = message.msg_controllen;
	add_flow_label(&message, link, path, train->flow_label);
	if (train->count > 1)
		error = send_labelled(link, socket, &message, unlabelled);
	else
		error = send_single(link, socket, &message, unlabelled);
	if (error == 0)
		return;
	if (train->count == 1 || error == EAGAIN || error == ENOBUFS) {
		fp_error(counts, FP_CALL_SEND, error, train->count);
		return;
	}
	/*
	 * A train is refused where a single datagram need not be. Larger than the path's MTU, which
	 * the kernel may fragment: EMSGSIZE, before Linux 6.13 EINVAL; it is this peer's affair.
	 * Out of a device that cannot finish checksums: EIO.
	 */
	if (error == EIO)
		fp_udp_give_up_trains(link, error);
	message.msg_controllen = single;
	send_singly(link, socket, path, &message, train, counts);
}

static void read_ancillary(struct msghdr *message, struct fp_arrival *arrival)
{
	for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL;
	     header = CMSG_NXTHDR(message, header)) {
		const uint8_t *data = CMSG_DATA(header);

		if (header->cmsg_level == SOL_UDP && header->cmsg_type == UDP_GRO &&
		    header->cmsg_len >= CMSG_LEN(sizeof(int))) {
			int size;

			memcpy(&size, data, sizeof(size));
			if (size > 0 && (size_t)size < arrival->length)
				arrival->size = (size_t)size;
		} else if (header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_TCLASS &&
			   header->cmsg_len >= CMSG_LEN(sizeof(int))) {
			int value;

			memcpy(&value, data, sizeof(value));
			arrival->traffic_class = (uint8_t)value;
		} else if (header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_TOS &&
			   header->cmsg_len >= CMSG_LEN(1)) {
			arrival->traffic_class = data[0];
		} else if (header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_PKTINFO &&
			   header->cmsg_len >= CMSG_LEN(sizeof(struct in6_pktinfo))) {
			memcpy(arrival->local, data + offsetof(struct in6_pktinfo, ipi6_addr), 16);
			arrival->local_size = 16;
		} else if (header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_PKTINFO &&
			   header->cmsg_len >= CMSG_LEN(sizeof(struct in_pktinfo)) &&
			   arrival->local_size == 0) {
			memcpy(arrival->local, data + offsetof(struct in_pktinfo, ipi_addr), 4);
			arrival->local_size = 4;
		}
	}
}

static void prepare(struct msghdr *message, const struct fp_link *link, struct fp_arrival *arrival,
		    struct iovec *parts, size_t count, struct fp_received *ancillary)
{
	memset(&arrival->from, 0, sizeof(arrival->from));
	arrival->from.link = link->id;
	*message = (struct msghdr){
		.msg_name = arrival->from.address,
		.msg_namelen = sizeof(arrival->from.address),
		.msg_iov = parts,
		.msg_iovlen = count,
		.msg_control = ancillary,
		.msg_controllen = sizeof(*ancillary),
	};
}

static void finish(struct msghdr *message, const struct fp_link *link, struct fp_arrival *arrival,
		   size_t length)
{
	if (link->family == AF_INET6)
		memset(arrival->from.address + offsetof(struct sockaddr_in6, sin6_flowinfo), 0,
		       sizeof(uint32_t));
	else
		memset(arrival->from.address + sizeof(struct sockaddr_in), 0,
		       FP_ADDRESS_SIZE - sizeof(struct sockaddr_in));
	arrival->length = length;
	arrival->size = arrival->length;
	arrival->local_size = 0;
	arrival->traffic_class = 0;
	read_ancillary(message, arrival);
	if (!link->multihome)
		arrival->local_size = 0;
}

int fp_udp_receive(struct fp_link *link, uint32_t lane, uint8_t *room,
		   struct fp_arrival *arrival)
{
	struct fp_received ancillary;
	struct iovec whole = { room, FP_UDP_MOST };
	struct msghdr message;
	ssize_t length;

	prepare(&message, link, arrival, &whole, 1, &ancillary);
	length = recvmsg(link->sockets[lane], &message, MSG_DONTWAIT);
	if (length < 0)
		return errno;
	finish(&message, link, arrival, (size_t)length);
	return 0;
}

struct fp_batch *fp_batch_new(void)
{
	struct fp_batch *batch = calloc(1, sizeof(*batch));

	if (batch == NULL)
		return NULL;
	batch->overflow = malloc(FP_BATCH * OVERFLOW);
	if (batch->overflow != NULL)
		return batch;
	free(batch);
	return NULL;
}

void fp_batch_free(struct fp_batch *batch)
{
	free(batch->overflow);
	free(batch);
}

/* What did not fit a slot goes on in the overflow, before which there is room for its beginning. */
static uint8_t *whole_octets(struct fp_batch *batch, unsigned int i)
{
	uint8_t *rest = batch->parts[i][1].iov_base;

	if (batch->arrivals[i].length <= FP_BATCH_SLOT)
		return batch->parts[i][0].iov_base;
	memcpy(rest - FP_BATCH_SLOT, batch->parts[i][0].iov_base, FP_BATCH_SLOT);
	return rest - FP_BATCH_SLOT;
}

int fp_udp_receive_batch(struct fp_link *link, uint32_t lane, uint8_t *room,
			 struct fp_batch *batch, unsigned int most)
{
	struct mmsghdr messages[FP_BATCH];
	int count;

	for (unsigned int i = 0; i < most; i++) {
		uint8_t *overflow = batch->overflow + i * OVERFLOW + FP_BATCH_SLOT;

		batch->parts[i][0] = (struct iovec){ room + i * FP_BATCH_SLOT, FP_BATCH_SLOT };
		batch->parts[i][1] = (struct iovec){ overflow, OVERFLOW - FP_BATCH_SLOT };
		prepare(&messages[i].msg_hdr, link, &batch->arrivals[i], batch->parts[i], 2,
			&batch->ancillary[i]);
	}
	count = recvmmsg(link->sockets[lane], messages, most, MSG_DONTWAIT, NULL);
	if (count < 0)
		return -errno;
	for (int i = 0; i < count; i++) {
		finish(&messages[i].msg_hdr, link, &batch->arrivals[i], messages[i].msg_len);
		batch->octets[i] = whole_octets(batch, (unsigned int)i);
	}
	return count;
}
