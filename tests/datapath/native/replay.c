/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For compilers without libFuzzer: runs the inputs of a corpus and mutations of them, the same in
 * each run.
 *
 *	replay MUTATIONS FILE...	mutations of each file
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST (128u << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);

static uint64_t state = 88172645463325252u;

static uint32_t below(uint32_t limit)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 32) % limit;
}

static size_t mutate(uint8_t *data, size_t length)
{
	static const uint8_t edges[] = { 0, 1, 2, 0x10, 0x18, 0x40, 0x45, 0x60, 0x7f, 0x80, 0xff };

	for (uint32_t times = 1 + below(4); times && length; times--) {
		uint32_t at = below((uint32_t)length);

		switch (below(5)) {
		case 0:
			data[at] ^= (uint8_t)(1u << below(8));
			break;
		case 1:
			data[at] = edges[below(sizeof(edges))];
			break;
		case 2:
			data[at] = (uint8_t)below(256);
			break;
		case 3:
			length -= below((uint32_t)(length - at));
			break;
		default:
			/* A part of it once more. */
			if (length + (length - at) <= MOST) {
				memmove(data + length, data + at, length - at);
				length += length - at;
			}
		}
	}
	return length;
}

int main(int argc, char **argv)
{
	static uint8_t original[MOST], changed[MOST];
	long mutations = argc > 1 ? strtol(argv[1], NULL, 10) : 0;

	for (int number = 2; number < argc; number++) {
		FILE *file = fopen(argv[number], "rb");
		size_t length;

		if (!file) {
			perror(argv[number]);
			return 1;
		}
		length = fread(original, 1, MOST, file);
		fclose(file);
		LLVMFuzzerTestOneInput(original, length);
		for (long run = 0; run < mutations; run++) {
			memcpy(changed, original, length);
			LLVMFuzzerTestOneInput(changed, mutate(changed, length));
		}
	}
	printf("%d inputs, %ld mutations of each\n", argc - 2, mutations);
	return 0;
}
