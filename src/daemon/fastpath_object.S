/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The programs for the kernel, as clang has made them from src/bpf/: FASTPATH_OBJECT is that file. */
	.section .rodata
	.balign 16
	.global fastpath_object, fastpath_object_end
	.type fastpath_object, @object
fastpath_object:
	.incbin FASTPATH_OBJECT
fastpath_object_end:
	.byte 0
	.size fastpath_object, . - fastpath_object
	.section .note.GNU-stack, "", @progbits
