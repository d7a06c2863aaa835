// SPDX-License-Identifier: MIT
// deep N [PROGRAM WORDS…]: N getsid() on a known stack of its own: main, middle, innermost, each with
// a frame pointer at -O0. Then the process becomes PROGRAM.
#include <stdlib.h>
#include <unistd.h>

static __attribute__((noinline)) long innermost(void)
{
	long session;

	__asm__ volatile("syscall" : "=a"(session) : "a"(124 /* getsid */), "D"(0) : "rcx", "r11", "memory");
	return session;
}

__attribute__((noinline)) long middle(void)
{
	return innermost() + 1;
}

int main(int count, char **words)
{
	for (int left = atoi(words[1]); left > 0; left--)
		if (middle() < 0)
			return 1;
	return count > 2 ? execv(words[2], words + 2) : 0;
}
