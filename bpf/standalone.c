// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A cell without kpmagic: loads its handlers, plants them, prints rows as lines with tabs between
 * their columns, then its tables, then where the hits went. probe.h says what there is, kernel.h
 * is the way into the kernel.
 *
 *     sudo ./NAME [COMMAND [ARGUMENT…]]     until the command ends, or Ctrl-C
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef uint64_t __attribute__((may_alias)) word;

struct field { const char *name; char kind; unsigned offset, size, count; };
struct shape { unsigned count; const struct field *fields; };
struct place { const char *program, *symbol; uint64_t address, offset, cookie; bool exact, is_return, multi, optional; };
struct table { const char *map, *label; char function; unsigned key_size; bool is_signed; int64_t low, high, step; unsigned count; const struct field *keys; };

#include "probe.h"	/* the above, as arrays; BUFFER, MAX_ROWS, PID, CPU, SAMPLE, COMM, ASKED, FOLLOW,
			 * SECONDS */
#include "record.h"

struct shared { struct kp_gate gate; struct kp_cpu cpu[]; };

static volatile sig_atomic_t stopped;
static uint64_t printed;
static struct shared *shared;
static int cpus;	/* that have counters of their own */

static void on_signal(int number) { (void)number; stopped = 1; }

static void die(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(error < 0 ? -error : error));
	exit(1);
}

#include "print.h"
#include "kernel.h"

static char group[64];

static void remove_group(void)
{
	if (*group)
		rmdir(group);
}

/* A cgroup of the command's own, for FOLLOW; its number. */
static uint64_t new_group(void)
{
	struct stat found;

	snprintf(group, sizeof(group), "/sys/fs/cgroup/standalone.%d", getpid());
	if (mkdir(group, 0755) || stat(group, &found))
		die(group, errno);
	atexit(remove_group);
	return found.st_ino;
}

/* The command cannot be run; what this program has in the kernel is not the child's to remove. */
static void give_up(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	_exit(127);
}

/* The command, which waits until a byte comes through the pipe. */
static pid_t start(char **command, int pipe_end)
{
	pid_t child = fork();

	if (child)
		return child;
	char byte;

	if (*group) {
		char path[96];
		FILE *file;

		snprintf(path, sizeof(path), "%s/cgroup.procs", group);
		file = fopen(path, "w");
		if (!file || fprintf(file, "0") < 0 || fclose(file))
			give_up(path);
	}
	if (read(pipe_end, &byte, 1) != 1)
		_exit(1);
	execvp(*command, command);
	give_up(*command);
	return 0;
}

int main(int count, char **words)
{
	struct sigaction action = { .sa_handler = on_signal };
	bool with_command = count > 1;
	int pipe_ends[2], status;
	pid_t child = 0;

	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	if (FOLLOW && !with_command)
		die("it follows a command: give one", EINVAL);
	load(FOLLOW ? new_group() : 0);
	if (pipe(pipe_ends))
		die("a pipe", errno);
	if (with_command)
		child = start(words + 1, pipe_ends[0]);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	for (unsigned i = 0; i < N_PROGRAMS; i++)
		plant(&places[i]);
	put_head();
	fflush(stdout);
	time_t end = time(NULL) + SECONDS;

	*(volatile word *)&shared->gate.until = MAX_ROWS ? MAX_ROWS : -1UL;
	if (with_command && write(pipe_ends[1], "", 1) != 1)
		die("the command", errno);
	while (!stopped && (!SECONDS || with_command || time(NULL) < end) &&
	       (!MAX_ROWS || printed < MAX_ROWS) &&
	       !(with_command && waitpid(child, &status, WNOHANG) == child)) {
		consume();
		usleep(10000);
	}
	*(volatile word *)&shared->gate.until = 0;
	usleep(10000);
	consume();
	for (unsigned i = 0; i < N_TABLES; i++) {
		put_names(&tables[i]);
		put_lines(i);
	}
	put_sum(shared, cpus);
	put_missed();
	return 0;
}
