/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "exporter.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/*
 * The text of /metrics in a file, for the textfile collector of node_exporter. Whoever reads it finds
 * the old text or the new one, never a part: it is written under another name in the same folder, one
 * that the collector does not take for its own, and then given its name.
 */

enum {
	FILE_MODE = 0644, /* whatever the umask: node_exporter is another user */
};

static const char suffix[] = ".prom";

/* "/run/x/pawsd.prom" becomes "/run/x/.pawsd.prom.XXXXXX". False where that is too long. */
static bool make_template(const char *path, char *ret_template, size_t size)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	int len = snprintf(ret_template, size, "%.*s.%s.XXXXXX", (int)(name - path), path, name);

	return len > 0 && (size_t)len < size;
}

static int write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t written = write(fd, text, len);

		if (written < 0)
			return -1;
		text += written;
		len -= (size_t)written;
	}
	return 0;
}

/* Returns 0 or -1 and errno. */
static int write_file(const char *path, const char *text, size_t len)
{
	char temporary[PATH_MAX];
	int fd, failed, saved;

	if (!make_template(path, temporary, sizeof(temporary))) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return -1;
	failed = write_all(fd, text, len) || fchmod(fd, FILE_MODE);
	saved = errno;
	/* What NFS could not write it says here. */
	if (close(fd) && !failed) {
		failed = 1;
		saved = errno;
	}
	if (!failed && rename(temporary, path) == 0)
		return 0;
	saved = failed ? saved : errno;
	unlink(temporary);
	errno = saved;
	return -1;
}

static int scrape_to_file(struct exporter *exporter, const char *path)
{
	size_t len;
	char *text = exporter_scrape(exporter, &len);
	int result, saved;

	if (!text) {
		errno = ENOMEM;
		return -1;
	}
	result = write_file(path, text, len);
	saved = errno;
	free(text);
	errno = saved;
	return result;
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* True when a signal to stop comes before `*deadline_ms`, which is moved on by the interval first. */
static bool wait_for_stop(const sigset_t *stop, int64_t *deadline_ms, uint32_t interval_s)
{
	struct timespec left;
	int64_t now = now_ms();

	*deadline_ms += (int64_t)interval_s * 1000;
	if (*deadline_ms < now) /* it has taken longer than that: at once, but not several in a row */
		*deadline_ms = now;
	left.tv_sec = (*deadline_ms - now) / 1000;
	left.tv_nsec = (*deadline_ms - now) % 1000 * 1000000;
	return sigtimedwait(stop, NULL, &left) > 0;
}

int textfile_run(struct exporter *exporter, const char *path, uint32_t interval_s)
{
	const size_t len = strlen(path);
	sigset_t stop = exporter_block_stop();
	int64_t deadline_ms = now_ms();
	bool was_written = true;

	if (len < sizeof(suffix) || strcmp(path + len - strlen(suffix), suffix) != 0)
		fprintf(stderr, "pawsd-exporter: --textfile %s: node_exporter reads no files but those that end with %s\n", path,
			suffix);
	if (scrape_to_file(exporter, path)) {
		fprintf(stderr, "pawsd-exporter: cannot write %s: %s\n", path, strerror(errno));
		return EXIT_FAILURE;
	}
	if (interval_s == 0)
		return EXIT_SUCCESS;
	fprintf(stderr, "pawsd-exporter: writing %s every %u s\n", path, interval_s);
	while (!wait_for_stop(&stop, &deadline_ms, interval_s)) {
		bool is_written = scrape_to_file(exporter, path) == 0;

		if (!is_written && was_written)
			fprintf(stderr, "pawsd-exporter: cannot write %s: %s; it is tried again\n", path, strerror(errno));
		else if (is_written && !was_written)
			fprintf(stderr, "pawsd-exporter: %s is written again\n", path);
		was_written = is_written;
	}
	/* Its figures would look as if they were today's for ever. */
	if (unlink(path) && errno != ENOENT)
		fprintf(stderr, "pawsd-exporter: cannot remove %s: %s\n", path, strerror(errno));
	return EXIT_SUCCESS;
}
