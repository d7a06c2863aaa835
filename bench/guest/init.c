// SPDX-License-Identifier: MIT
/* The least that a kernel can start: says so, and waits to be ended. */
#include <fcntl.h>
#include <unistd.h>

int main(void)
{
	int console = open("/dev/console", O_WRONLY);

	if (write(console, "init runs\n", 10) < 0)
		return 1;
	for (;;)
		pause();
}
