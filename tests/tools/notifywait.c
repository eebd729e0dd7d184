/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * notifywait: the other end of $NOTIFY_SOCKET, for tests.
 *
 *   notifywait SOCKET FILE
 *
 * Makes the datagram socket, prints its pid and goes on in the background; makes FILE when a
 * message has the line READY=1, and ends.
 */
#include "load.h"

#include <fcntl.h>
#include <sys/un.h>

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char message[4096];
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ssize_t n;

	if (argc != 3 || strlen(argv[1]) >= sizeof(address.sun_path)) {
		fprintf(stderr, "usage: notifywait SOCKET FILE\n");
		return 2;
	}
	memcpy(address.sun_path, argv[1], strlen(argv[1]));
	unlink(argv[1]);
	unlink(argv[2]);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		load_die(argv[1]);
	load_go_background();
	while ((n = recv(fd, message, sizeof(message) - 1, 0)) >= 0) {
		message[n] = '\0';
		for (char *line = strtok(message, "\n"); line; line = strtok(NULL, "\n")) {
			if (strcmp(line, "READY=1") == 0)
				return close(open(argv[2], O_CREAT | O_WRONLY | O_CLOEXEC, 0644)) < 0;
		}
	}
	return 1;
}
