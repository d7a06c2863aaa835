/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* The handlers as BPF programs, in handler.bpf.o, through libbpf. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

static struct bpf_object *object;
static struct ring_buffer *ring;

static void load(uint64_t cgroup)
{
	struct kp_config config = { .cgroup = cgroup, .agent = getpid(), .asked = ASKED,
				    .pid = PID, .cpu = CPU, .sample = SAMPLE, .comm = COMM };
	struct bpf_map *map;
	size_t size = 0;
	void *place;

	object = bpf_object__open_file("handler.bpf.o", NULL);
	if (!object)
		die("handler.bpf.o", errno);
	map = bpf_object__find_map_by_name(object, ".rodata.kp");
	place = map ? (void *)bpf_map__initial_value(map, &size) : NULL;
	if (!place || size < sizeof(config))
		die("handler.bpf.o has no settings", EINVAL);
	memcpy(place, &config, sizeof(config));
	bpf_map__set_max_entries(bpf_object__find_map_by_name(object, "kp_ring"), BUFFER);
	if (bpf_object__load(object))
		die("handler.bpf.o", errno);
	map = bpf_object__find_map_by_name(object, ".data.kp");
	size = (bpf_map__value_size(map) + 4095) & ~4095UL;
	shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
	ring = ring_buffer__new(bpf_object__find_map_fd_by_name(object, "kp_ring"), on_row, NULL, NULL);
	if (shared == MAP_FAILED || !ring)
		die("memory of the programs", errno);
	cpus = libbpf_num_possible_cpus();
}

static void plant(const struct place *place)
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

static void consume(void)
{
	ring_buffer__consume(ring);
}

static void put_lines(unsigned number)
{
	const struct table *table = &tables[number];
	int fd = bpf_object__find_map_fd_by_name(object, table->map);
	unsigned char key[table->key_size], next[table->key_size];
	struct kp_total totals[cpus];
	bool first = true;

	while (!bpf_map_get_next_key(fd, first ? NULL : key, next)) {
		first = false;
		memcpy(key, next, sizeof(key));
		if (!bpf_map_lookup_elem(fd, key, totals))
			put_line(table, key, totals, cpus);
	}
}

static void put_missed(void)
{
	/* the kernel tells it of a link, not of a program */
}
