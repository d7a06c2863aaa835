// SPDX-License-Identifier: MIT
/*
 * The workload: calls N makes N calls of read() that end in vfs_read(), in batches of 200.
 * Prints four numbers of ns: a call in the quickest batch and in the middle one, which are what a
 * call takes when nothing else has the processor; when it began, of CLOCK_MONOTONIC; and the
 * processor time it used.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define BATCH 200

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static long long used(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return (r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000000LL +
	       (r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1000LL;
}

static int by_size(const void *a, const void *b)
{
	double one = *(const double *)a, other = *(const double *)b;

	return (one > other) - (one < other);
}

int main(int argc, char **argv)
{
	long n = argc > 1 ? atol(argv[1]) : 1000, batches = 0;
	double *took = calloc(n / BATCH + 1, sizeof(*took));
	int fd = open("/dev/zero", O_RDONLY);
	long long began = now();
	char to[10];

	if (fd < 0 || !took)
		return 1;
	for (long left = n; left > 0; left -= BATCH) {
		long these = left < BATCH ? left : BATCH;
		long long from = now();

		for (long i = 0; i < these; i++)
			if (read(fd, to, sizeof(to)) < 0)
				return 1;
		took[batches++] = (double)(now() - from) / these;
	}
	qsort(took, batches, sizeof(*took), by_size);
	printf("%.1f %.1f %lld %lld\n", batches ? took[0] : 0, batches ? took[batches / 2] : 0,
	       began, used());
	return 0;
}
