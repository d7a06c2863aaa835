// SPDX-License-Identifier: MIT
/*
 * timed FILE PROGRAM ARGS…: runs a program and writes to FILE when it was started (ns of
 * CLOCK_MONOTONIC) and the processor time (ns) that it and all it waited for have used.
 */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct timespec t;
	struct rusage r;
	int status;
	FILE *out;

	if (argc < 3 || !(out = fopen(argv[1], "w")))
		return 125;
	clock_gettime(CLOCK_MONOTONIC, &t);
	pid_t child = fork();

	if (!child) {
		execvp(argv[2], argv + 2);
		_exit(126);
	}
	if (child < 0 || wait4(child, &status, 0, &r) < 0)
		return 125;
	fprintf(out, "%lld %lld\n", t.tv_sec * 1000000000LL + t.tv_nsec,
		(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000000LL +
			(r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1000LL);
	return fclose(out) || !WIFEXITED(status) ? 125 : WEXITSTATUS(status);
}
