/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What headers of the core need of <string.h>, in programs for the kernel. */
#ifndef PAWSD_FREESTANDING_STRING_H
#define PAWSD_FREESTANDING_STRING_H

#define memcpy __builtin_memcpy
#define memcmp __builtin_memcmp
#define memset __builtin_memset

#endif
