// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A cell without kpmagic: loads handler.bpf.o, plants its programs, prints rows as lines with tabs
 * between their columns, then its tables, then where the hits went. probe.h says what there is.
 *
 *     sudo ./NAME [COMMAND [ARGUMENT…]]     until the command ends, or Ctrl-C
 */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
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

#include "probe.h"	/* the above, as arrays; BUFFER, MAX_ROWS, PID, CPU, SAMPLE, COMM, FOLLOW, SECONDS */
#include "record.h"

struct shared { struct kp_gate gate; struct kp_cpu cpu[]; };

static volatile sig_atomic_t stopped;
static uint64_t printed;

static void on_signal(int number) { (void)number; stopped = 1; }

static void die(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(error < 0 ? -error : error));
	exit(1);
}

static uint64_t number(const unsigned char *data, unsigned size, bool is_signed)
{
	uint64_t value = 0;

	memcpy(&value, data, size > 8 ? 8 : size);
	if (is_signed && size < 8 && value >> (8 * size - 1))
		value |= ~0ULL << (8 * size);
	return value;
}

static void put_text(const char *text, unsigned size)
{
	for (unsigned i = 0; i < size && text[i]; i++)
		putchar(text[i] == '\t' || text[i] == '\n' ? ' ' : text[i]);
}

static void put(const struct field *field, const unsigned char *record)
{
	const unsigned char *at = record + field->offset;
	unsigned one = field->size / (field->count ? field->count : 1);

	if (field->kind == 's') {
		put_text((const char *)at, field->size);
		return;
	}
	for (unsigned i = 0; i < (field->count ? field->count : 1); i++, at += one) {
		if (i)
			putchar(' ');
		if (field->kind == 'x')
			printf("%#" PRIx64, number(at, one, false));
		else if (field->kind == 'i')
			printf("%" PRId64, (int64_t)number(at, one, true));
		else
			printf("%" PRIu64, number(at, one, false));
	}
}

static int on_row(void *context, void *data, size_t size)
{
	const struct kp_header *header = data;

	(void)context, (void)size;
	if (MAX_ROWS && printed >= MAX_ROWS)
		return 0;
	printed++;
	printf("%" PRIu64 ".%09" PRIu64 "\t%u\t%u\t%u\t", (uint64_t)header->ts / 1000000000,
	       (uint64_t)header->ts % 1000000000, header->cpu, header->pid, header->tid);
	put_text(header->comm, sizeof(header->comm));
	if (N_PLACES > 1)
		printf("\t%s", sites[header->site]);
	for (unsigned i = 0; header->row < N_SHAPES && i < shapes[header->row].count; i++) {
		putchar('\t');
		put(&shapes[header->row].fields[i], data);
	}
	putchar('\n');
	return 0;
}

static void put_head(void)
{
	if (!N_SHAPES)
		return;
	printf("#time\tcpu\tpid\ttid\tcomm%s", N_PLACES > 1 ? "\tprobe" : "");
	for (unsigned i = 0; N_SHAPES == 1 && i < shapes[0].count; i++)
		printf("\t%s", shapes[0].fields[i].name);
	putchar('\n');
}

/* [low, high) of a bucket: 0 holds 0, b holds 2^(b-1) up to 2^b, -b the negatives; or equal steps */
static void put_bounds(const struct table *table, int bucket)
{
	if (table->function == 'l') {
		int64_t last = (table->high - table->low + table->step - 1) / table->step + 1;

		if (bucket <= 0)
			printf("…\t%" PRId64, table->low);
		else if (bucket >= last)
			printf("%" PRId64 "\t…", table->high);
		else
			printf("%" PRId64 "\t%" PRId64, table->low + (bucket - 1) * table->step,
			       table->low + bucket * table->step);
		return;
	}
	uint64_t near = bucket ? 1ULL << ((bucket < 0 ? -bucket : bucket) - 1) : 0;

	if (bucket < 0)
		printf("-%" PRIu64 "\t-%" PRIu64, 2 * near - 1, near - 1);
	else
		printf("%" PRIu64 "\t%" PRIu64, near, bucket ? 2 * near : 1);
}

static void put_total(const struct table *table, const struct kp_total *totals, int cpus)
{
	uint64_t n = 0;
	int64_t v = 0;

	for (int i = 0; i < cpus; i++) {
		bool better = table->is_signed ? totals[i].v < v : (uint64_t)totals[i].v < (uint64_t)v;

		if (table->function == 'm' || table->function == 'M') {
			if (totals[i].n && (!n || better == (table->function == 'm')))
				v = totals[i].v;
		} else {
			v += totals[i].v;
		}
		n += totals[i].n;
	}
	if (table->function == 'c' || table->function == 'h' || table->function == 'l')
		printf("%" PRIu64 "\n", n);
	else if (table->function == 'a')
		printf("%g\n", n ? (double)v / n : 0.0);
	else
		printf(table->is_signed ? "%" PRId64 "\n" : "%" PRIu64 "\n", v);
}

static void put_table(struct bpf_object *object, const struct table *table, int cpus)
{
	int fd = bpf_object__find_map_fd_by_name(object, table->map);
	unsigned char key[table->key_size], next[table->key_size];
	struct kp_total totals[cpus];
	bool first = true;

	printf("\n#%s", table->label);
	for (unsigned i = 0; i < table->count; i++)
		printf("\t%s", table->keys[i].name);
	puts(table->function == 'h' || table->function == 'l' ? "\tlow\thigh\tcount" :
	     table->function == 'c' ? "\tcount" : "\tvalue");
	while (!bpf_map_get_next_key(fd, first ? NULL : key, next)) {
		first = false;
		memcpy(key, next, sizeof(key));
		if (bpf_map_lookup_elem(fd, key, totals))
			continue;
		for (unsigned i = 0; i < table->count; i++, putchar('\t'))
			put(&table->keys[i], key);
		if (table->function == 'h' || table->function == 'l') {
			put_bounds(table, (int)number(key + table->key_size - 8, 4, true));
			putchar('\t');
		}
		put_total(table, totals, cpus);
	}
}

static void put_sum(const struct shared *shared, int cpus)
{
	uint64_t sums[7] = {};

	for (int i = 0; i < cpus; i++)
		for (int j = 0; j < 7; j++)
			sums[j] += ((const word *)&shared->cpu[i])[j];
	printf("\n#hits\trows\tfiltered\tsampled\tdropped\n%" PRIu64 "\t%" PRIu64 "\t%" PRIu64
	       "\t%" PRIu64 "\t%" PRIu64 "\n", sums[0], sums[1], sums[2], sums[3], sums[4]);
	if (ENTRIES)
		printf("\n#entries\tunpaired\n%" PRIu64 "\t%" PRIu64 "\n", sums[5], sums[6]);
}

static void configure(struct bpf_object *object, uint64_t cgroup)
{
	struct kp_config config = { .cgroup = cgroup, .max_rows = MAX_ROWS, .agent = getpid(),
				    .pid = PID, .cpu = CPU, .sample = SAMPLE, .comm = COMM };
	struct bpf_map *map = bpf_object__find_map_by_name(object, ".rodata.kp");
	size_t size;
	void *place = map ? (void *)bpf_map__initial_value(map, &size) : NULL;

	if (!place || size < sizeof(config))
		die("handler.bpf.o has no settings", EINVAL);
	memcpy(place, &config, sizeof(config));
	bpf_map__set_max_entries(bpf_object__find_map_by_name(object, "kp_ring"), BUFFER);
}

static void plant(struct bpf_object *object, const struct place *place)
{
	struct bpf_program *program = bpf_object__find_program_by_name(object, place->program);
	LIBBPF_OPTS(bpf_kprobe_opts, one, .offset = place->offset, .retprobe = place->is_return,
		    .bpf_cookie = place->cookie);
	LIBBPF_OPTS(bpf_kprobe_multi_opts, many, .syms = (const char **)&place->symbol, .cnt = 1,
		    .cookies = (const __u64 *)&place->cookie, .retprobe = place->is_return);
	struct bpf_link *link = place->multi ?
		bpf_program__attach_kprobe_multi_opts(program, NULL, &many) :
		bpf_program__attach_kprobe_opts(program, place->symbol, &one);

	if (!link && !place->optional)
		die(place->symbol, errno);
}

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
			die(path, errno);
	}
	if (read(pipe_end, &byte, 1) != 1)
		_exit(1);
	execvp(*command, command);
	die(*command, errno);
	return 0;
}

int main(int count, char **words)
{
	int cpus = libbpf_num_possible_cpus(), pipe_ends[2], status;
	struct bpf_object *object = bpf_object__open_file("handler.bpf.o", NULL);
	struct sigaction action = { .sa_handler = on_signal };
	bool with_command = count > 1;
	pid_t child = 0;

	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	if (!object)
		die("handler.bpf.o", errno);
	if (FOLLOW && !with_command)
		die("it follows a command: give one", EINVAL);
	configure(object, FOLLOW ? new_group() : 0);
	if (bpf_object__load(object))
		die("handler.bpf.o", errno);
	struct bpf_map *map = bpf_object__find_map_by_name(object, ".data.kp");
	size_t size = (bpf_map__value_size(map) + 4095) & ~4095UL;
	struct shared *shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
				     bpf_map__fd(map), 0);
	struct ring_buffer *ring = ring_buffer__new(
		bpf_object__find_map_fd_by_name(object, "kp_ring"), on_row, NULL, NULL);

	if (shared == MAP_FAILED || !ring || pipe(pipe_ends))
		die("memory of the programs", errno);
	if (with_command)
		child = start(words + 1, pipe_ends[0]);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	for (unsigned i = 0; i < N_PROGRAMS; i++)
		plant(object, &places[i]);
	put_head();
	fflush(stdout);
	time_t end = time(NULL) + SECONDS;

	*(volatile word *)&shared->gate.open = 1;
	if (with_command && write(pipe_ends[1], "", 1) != 1)
		die("the command", errno);
	while (!stopped && (!SECONDS || with_command || time(NULL) < end) &&
	       (!MAX_ROWS || *(volatile word *)&shared->gate.rows < MAX_ROWS) &&
	       !(with_command && waitpid(child, &status, WNOHANG) == child)) {
		ring_buffer__consume(ring);
		usleep(10000);
	}
	*(volatile word *)&shared->gate.open = 0;
	usleep(10000);
	ring_buffer__consume(ring);
	for (unsigned i = 0; i < N_TABLES; i++)
		put_table(object, &tables[i], cpus);
	put_sum(shared, cpus);
	return 0;
}
