/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* How rows, tables and sums are printed: lines with tabs between their columns. */
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
			       bucket + 1 == last ? table->high : table->low + bucket * table->step);
		return;
	}
	uint64_t near = bucket ? 1ULL << ((bucket < 0 ? -bucket : bucket) - 1) : 0;

	if (bucket < 0)
		printf("-%" PRIu64 "\t%s%" PRIu64, 2 * near - 1, near > 1 ? "-" : "", near - 1);
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
		printf("%g\n", (table->is_signed ? (double)v : (double)(uint64_t)v) / (n ? n : 1));
	else
		printf(table->is_signed ? "%" PRId64 "\n" : "%" PRIu64 "\n", v);
}

static void put_names(const struct table *table)
{
	printf("\n#%s", table->label);
	for (unsigned i = 0; i < table->count; i++)
		printf("\t%s", table->keys[i].name);
	puts(table->function == 'h' || table->function == 'l' ? "\tlow\thigh\tcount" :
	     table->function == 'c' ? "\tcount" : "\tvalue");
}

/* A key of a table with its totals, one of each CPU. */
static void put_line(const struct table *table, const unsigned char *key,
		     const struct kp_total *totals, int cpus)
{
	for (unsigned i = 0; i < table->count; i++, putchar('\t'))
		put(&table->keys[i], key);
	if (table->function == 'h' || table->function == 'l') {
		put_bounds(table, (int)number(key + table->key_size - 8, 4, true));
		putchar('\t');
	}
	put_total(table, totals, cpus);
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
