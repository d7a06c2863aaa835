// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * floor OBJECT SHAPE PROGRAM ARGS…: attaches the programs of a shape, runs a program under them,
 * drains the ring buffer every 5 ms meanwhile. Prints delivered and dropped to stderr.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static long delivered;

static int take(void *context, void *data, size_t size)
{
	(void)context, (void)data, (void)size;
	delivered++;
	return 0;
}

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, format, args) : 0;
}

/* The shape's program, and the one at the entry when its name is SHAPE_entry. */
static bool of_shape(const char *name, const char *shape)
{
	size_t length = strlen(shape);

	return !strncmp(name, shape, length) && (!name[length] || !strcmp(name + length, "_entry"));
}

static long sum_dropped(struct bpf_object *object)
{
	int fd = bpf_object__find_map_fd_by_name(object, "dropped");
	unsigned long long counts[64] = {}, sum = 0;
	unsigned int zero = 0;

	bpf_map_lookup_elem(fd, &zero, counts);
	for (int cpu = 0; cpu < libbpf_num_possible_cpus(); cpu++)
		sum += counts[cpu];
	return sum;
}

int main(int argc, char **argv)
{
	struct bpf_program *program;
	struct bpf_object *object;
	struct ring_buffer *ring;
	int status = 0;

	if (argc < 4)
		return 125;
	libbpf_set_print(quiet);
	object = bpf_object__open_file(argv[1], NULL);
	if (!object)
		return 124;
	bpf_object__for_each_program(program, object)
		bpf_program__set_autoload(program,
					  of_shape(bpf_program__name(program), argv[2]));
	if (bpf_object__load(object))
		return 123;
	ring = ring_buffer__new(bpf_object__find_map_fd_by_name(object, "ring"), take, NULL, NULL);
	if (!ring)
		return 122;
	bpf_object__for_each_program(program, object)
		if (of_shape(bpf_program__name(program), argv[2]) && !bpf_program__attach(program))
			return 121;
	pid_t child = fork();

	if (!child) {
		execvp(argv[3], argv + 3);
		_exit(126);
	}
	while (!waitpid(child, &status, WNOHANG)) {
		ring_buffer__consume(ring);
		usleep(5000);
	}
	ring_buffer__consume(ring);
	fprintf(stderr, "%ld %ld\n", delivered, sum_dropped(object));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}
