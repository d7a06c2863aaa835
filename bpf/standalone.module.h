/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* The handlers as a kernel module, in MODULE.ko: frame.kmod.h is the other end of its device. */
#include <sys/ioctl.h>
#include <sys/syscall.h>

#define CONFIGURE _IOW('k', 1, struct kp_config)
#define SLOTS 16384
#define STRIDE (8 + ((RECORD + 7) & ~7))
#define PAGE 4096UL

static int device = -1;
static struct { void *at; size_t size; } maps[3 + N_TABLES];
static unsigned n_maps;
static word *consumer, *producer;
static const unsigned char *rows;

static void unload(void)
{
	while (n_maps--)
		munmap(maps[n_maps].at, maps[n_maps].size);
	if (device >= 0)
		close(device);
	syscall(SYS_delete_module, MODULE, 0);
}

/* Where a function is now: a kernel puts itself elsewhere at each boot. */
static uint64_t address_of(const struct place *place)
{
	uint64_t wanted = place->address - place->offset, found = 0, at;
	char line[512], name[256];
	FILE *file;
	int many = 0;

	if (!place->symbol)
		return place->address;
	file = fopen("/proc/kallsyms", "r");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%" SCNx64 " %*c %255s", &at, name) == 2 && !strcmp(name, place->symbol)) {
			if (at == wanted)
				return place->address;
			found = at;
			many++;
		}
	if (many != 1)
		die(place->symbol, many ? ENOTUNIQ : ENOENT);
	return found + place->offset;
}

static void insert(void)
{
	char parameters[256 + 24 * N_PLACES];
	uint64_t addresses[N_PLACES] = {};
	int file = open(MODULE ".ko", O_RDONLY | O_CLOEXEC), length;

	for (unsigned i = 0; i < N_PROGRAMS; i++)
		if (places[i].exact || !places[i].symbol)
			addresses[places[i].cookie] = address_of(&places[i]);
	length = sprintf(parameters, "buffer=%lu " INJECTION " addresses=", (unsigned long)BUFFER);
	for (unsigned i = 0; i < N_PLACES; i++)
		length += sprintf(parameters + length, "%s%" PRIu64, i ? "," : "", addresses[i]);
	if (file < 0)
		die(MODULE ".ko", errno);
	if (syscall(SYS_finit_module, file, parameters, 0)) {
		/* one whose reader was killed has planted nothing any more */
		if (errno != EEXIST || syscall(SYS_delete_module, MODULE, O_NONBLOCK) ||
		    syscall(SYS_finit_module, file, parameters, 0))
			die(MODULE ".ko", errno);
	}
	close(file);
	atexit(unload);
}

static void *map(size_t size, int access, off_t offset)
{
	void *found = mmap(NULL, size, access, MAP_SHARED, device, offset);

	if (found == MAP_FAILED)
		die("memory of the module", errno);
	maps[n_maps].at = found;
	maps[n_maps++].size = size;
	return found;
}

static void load(uint64_t cgroup)
{
	struct kp_config config = { .cgroup = cgroup, .agent = getpid(), .asked = ASKED,
				    .pid = PID, .cpu = CPU, .sample = SAMPLE, .comm = COMM };

	insert();
	for (int i = 0; device < 0 && i < 200; i++) {	/* devtmpfs makes it */
		device = open("/dev/" MODULE, O_RDWR | O_CLOEXEC);
		if (device < 0)
			usleep(5000);
	}
	if (device < 0 || ioctl(device, CONFIGURE, &config))
		die("/dev/" MODULE, errno);
	cpus = CPUS;
	shared = map((sizeof(*shared) + CPUS * sizeof(struct kp_cpu) + PAGE - 1) & ~(PAGE - 1),
		     PROT_READ | PROT_WRITE, 1UL << 30);
	consumer = map(PAGE, PROT_READ | PROT_WRITE, 0);
	producer = map(PAGE + 2UL * BUFFER, PROT_READ, PAGE);
	rows = (const unsigned char *)producer + PAGE;
}

/* Loading has planted it, shut; what was optional may not be there. */
static void plant(const struct place *place)
{
	(void)place;
}

static void consume(void)
{
	uint64_t at = *consumer, end = __atomic_load_n(producer, __ATOMIC_ACQUIRE);

	for (; at < end; at += STRIDE)
		on_row(NULL, (void *)(rows + (at & (BUFFER - 1)) + 8), RECORD);
	__atomic_store_n(consumer, at, __ATOMIC_RELEASE);
}

static unsigned key_size;

static int by_key(const void *one, const void *other)
{
	return memcmp(*(const unsigned char **)one + 24, *(const unsigned char **)other + 24, key_size);
}

/* A slot is 1 when in use, a total, a key; each CPU has its own slots. */
static void put_lines(unsigned number)
{
	const struct table *table = &tables[number];
	size_t step = 24 + table->key_size, count = 0, slots = (size_t)CPUS * SLOTS;
	unsigned char *memory = map((slots * step + PAGE - 1) & ~(PAGE - 1), PROT_READ,
				    (number + 1UL) << 31);
	unsigned char **used = malloc(slots * sizeof(*used));
	struct kp_total totals[CPUS];

	if (!used)
		die(table->label, ENOMEM);
	for (size_t i = 0; i < slots; i++)
		if (memory[i * step])
			used[count++] = memory + i * step;
	key_size = table->key_size;
	qsort(used, count, sizeof(*used), by_key);
	for (size_t i = 0, same; i < count; i += same) {
		memset(totals, 0, sizeof(totals));
		for (same = 0; i + same < count && !by_key(&used[i], &used[i + same]); same++)
			memcpy(&totals[same], used[i + same] + 8, sizeof(*totals));
		put_line(table, used[i] + 24, totals, CPUS);
	}
	free(used);
}

static void put_missed(void)
{
	struct { uint64_t missed; int32_t errors[N_PLACES]; } status;

	if (read(device, &status, sizeof(status)) > 0)
		printf("\n#missed\n%" PRIu64 "\n", status.missed);
}
