/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel that refuses trains, by LD_PRELOAD: sendmsg() with UDP_SEGMENT says the errno in
 * REFUSE_SEND, asking for the option says the one in REFUSE_ASK. 0 or nothing refuses nothing.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>

#define UDP 17
#define SEGMENT 103

atomic_int refused_trains;

static int refusal(const char *name)
{
	const char *text = getenv(name);

	return text == NULL ? 0 : atoi(text);
}

static int is_train(const struct msghdr *message)
{
	struct msghdr copy = *message;

	for (struct cmsghdr *at = CMSG_FIRSTHDR(&copy); at != NULL; at = CMSG_NXTHDR(&copy, at)) {
		if (at->cmsg_level == UDP && at->cmsg_type == SEGMENT)
			return 1;
	}
	return 0;
}

ssize_t sendmsg(int descriptor, const struct msghdr *message, int flags)
{
	ssize_t (*real)(int, const struct msghdr *, int);
	int error = refusal("REFUSE_SEND");

	*(void **)&real = dlsym(RTLD_NEXT, "sendmsg");
	if (error == 0 || !is_train(message))
		return real(descriptor, message, flags);
	atomic_fetch_add(&refused_trains, 1);
	errno = error;
	return -1;
}

int getsockopt(int descriptor, int level, int option, void *restrict value,
	       socklen_t *restrict size)
{
	int (*real)(int, int, int, void *, socklen_t *);
	int error = refusal("REFUSE_ASK");

	*(void **)&real = dlsym(RTLD_NEXT, "getsockopt");
	if (error == 0 || level != UDP || option != SEGMENT)
		return real(descriptor, level, option, value, size);
	errno = error;
	return -1;
}
