/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What systemd has been told, from its files: to ask it would be to send something. */
#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>

#include "doctor_internal.h"

static const char place[] = "pawsd(8), DOCTOR";

/* In the order in which systemd looks. NULL: not installed. */
static const char *find_unit(const struct doctor *doctor)
{
	static const char *const paths[] = {"/etc/systemd/system/pawsd.service", "/run/systemd/system/pawsd.service",
					    "/usr/local/lib/systemd/system/pawsd.service",
					    "/usr/lib/systemd/system/pawsd.service", "/lib/systemd/system/pawsd.service"};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		if (doctor_has_file(doctor, paths[i]))
			return paths[i];
	return NULL;
}

/* The unit runs pawsd as its own user, in the group root. */
static void look_at_readers(struct doctor *doctor)
{
	const struct passwd *user = getpwnam("pawsd");
	struct stat status;

	if (!user) {
		doctor_say(doctor, DOCTOR_FAIL, place, "there is no user pawsd, whom the unit runs it as; systemd-sysusers");
		return;
	}
	if (stat(doctor->path, &status) < 0)
		return; /* that is an error of the configuration */
	if ((status.st_mode & S_IROTH) ||
	    ((status.st_mode & S_IRGRP) && (status.st_gid == 0 || status.st_gid == user->pw_gid)) ||
	    ((status.st_mode & S_IRUSR) && status.st_uid == user->pw_uid))
		doctor_say(doctor, DOCTOR_OK, NULL, "user pawsd may read %s", doctor->path);
	else
		doctor_say(doctor, DOCTOR_FAIL, place,
			   "user pawsd, whom the unit runs it as, may not read %s; chgrp root %s && chmod g+r %s", doctor->path,
			   doctor->path, doctor->path);
}

void doctor_look_at_service(struct doctor *doctor)
{
	const char *unit;

	if (!doctor_has_systemd(doctor)) {
		doctor_say(doctor, DOCTOR_NOTE, "pawsd(8), Flows",
			   "systemd does not run here: while pawsd is restarted nobody keeps its queues, so handshakes pass by "
			   "and packets of rewritten connections are dropped; see to it that something starts it again");
		return;
	}
	unit = find_unit(doctor);
	if (!unit) {
		doctor_say(doctor, DOCTOR_WARN, place,
			   "pawsd.service is not installed; make install, then systemctl daemon-reload");
		return;
	}
	if (doctor_has_file(doctor, "/etc/systemd/system/multi-user.target.wants/pawsd.service"))
		doctor_say(doctor, DOCTOR_OK, NULL, "%s, enabled", unit);
	else
		doctor_say(doctor, DOCTOR_WARN, place,
			   "%s is not enabled, so that pawsd is not there after a reboot; systemctl enable --now pawsd", unit);
	look_at_readers(doctor);
}
