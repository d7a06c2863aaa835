// SPDX-License-Identifier: MIT
/*
 * The workload of %kp mechanisms: `workload KIND CALLS` makes so many system calls of one kind on
 * one processor, in pieces of PIECE, and prints the nanoseconds that the middle one of these took:
 * what comes between, be it another process or another machine's turn, is in few of them.
 * `workload while COMMAND` runs a shell command, and prints the nanoseconds of it all.
 *
 * Without a C library, so that it runs on every x86-64 target and nothing else calls the kernel.
 */
typedef long s64;

enum { READ = 0, WRITE = 1, CLOSE = 3, LSEEK = 8, FORK = 57, EXECVE = 59, EXIT = 60, WAIT4 = 61,
       GETPPID = 110, SETAFFINITY = 203, CLOCK_GETTIME = 228, OPENAT = 257, NEWFSTATAT = 262 };
enum { PIECE = 50, MOST = 1 << 16 };
enum { HERE = -100, READ_WRITE = 2, MONOTONIC = 1 };

static s64 call(s64 number, s64 a, s64 b, s64 c, s64 d)
{
	register s64 fourth asm("r10") = d;
	s64 result;

	asm volatile("syscall"
		     : "=a"(result)
		     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
		     : "rcx", "r11", "memory");
	return result;
}

static s64 now(void)
{
	s64 time[2];

	call(CLOCK_GETTIME, MONOTONIC, (s64)time, 0, 0);
	return time[0] * 1000000000 + time[1];
}

static int same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static s64 number(const char *text)
{
	s64 value = 0;

	for (; *text >= '0' && *text <= '9'; text++)
		value = value * 10 + *text - '0';
	return value;
}

static void print(s64 value)
{
	char text[24];
	int at = sizeof(text);

	text[--at] = '\n';
	do {
		text[--at] = '0' + value % 10;
		value /= 10;
	} while (value);
	call(WRITE, 1, (s64)(text + at), sizeof(text) - at, 0);
}

/* one call of the kind; `zero` and `null` are open files */
static void once(int kind, s64 zero, s64 null)
{
	static char data[256];

	switch (kind) {
	case 0:
		call(READ, zero, (s64)data, 1, 0);
		break;
	case 1:
		call(WRITE, null, (s64)data, 1, 0);
		break;
	case 2:
		call(GETPPID, 0, 0, 0, 0);
		break;
	case 3:
		call(CLOSE, call(OPENAT, HERE, (s64)"/dev/null", 0, 0), 0, 0, 0);
		break;
	case 4:
		call(NEWFSTATAT, HERE, (s64)"/dev/null", (s64)data, 0);
		break;
	case 5:
		call(LSEEK, zero, 0, 0, 0);
		break;
	}
}

static s64 middle(s64 *times, s64 count)
{
	for (s64 gap = count / 2; gap; gap /= 2)
		for (s64 i = gap; i < count; i++)
			for (s64 j = i; j >= gap && times[j - gap] > times[j]; j -= gap) {
				s64 larger = times[j - gap];

				times[j - gap] = times[j];
				times[j] = larger;
			}
	return times[count / 2];
}

static s64 calls(int kind, s64 count)
{
	static s64 times[MOST];
	s64 zero = call(OPENAT, HERE, (s64)"/dev/zero", 0, 0);
	s64 null = call(OPENAT, HERE, (s64)"/dev/null", READ_WRITE, 0);
	unsigned long first = 1;
	s64 pieces = 0;

	call(SETAFFINITY, 0, sizeof(first), (s64)&first, 0);
	for (s64 left = count; left >= PIECE; left -= PIECE) {
		s64 began = now();

		for (int i = 0; i < PIECE; i++)
			once(kind, zero, null);
		times[pieces++ % MOST] = now() - began;
	}
	return middle(times, pieces < MOST ? pieces : MOST);
}

static s64 command(const char *text, char **environment)
{
	const char *words[] = { "/bin/sh", "-c", text, 0 };
	s64 began = now(), child = call(FORK, 0, 0, 0, 0);

	if (!child) {
		call(EXECVE, (s64)words[0], (s64)words, (s64)environment, 0);
		call(EXIT, 127, 0, 0, 0);
	}
	call(WAIT4, child, 0, 0, 0);
	return now() - began;
}

static const char *const KINDS[] = { "read", "write", "getppid", "open", "stat", "lseek" };

static int run(int count, char **words)
{
	if (count != 3)
		return 2;
	if (same(words[1], "while")) {
		print(command(words[2], words + count + 1));
		return 0;
	}
	for (unsigned kind = 0; kind < sizeof(KINDS) / sizeof(*KINDS); kind++)
		if (same(words[1], KINDS[kind])) {
			print(calls(kind, number(words[2])));
			return 0;
		}
	return 2;
}

__attribute__((used)) static void begin(s64 *stack)
{
	call(EXIT, run(*stack, (char **)(stack + 1)), 0, 0, 0);
}

asm(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n");
