/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The programs for the kernel, as clang has made them from src/bpf/: FASTPATH_OBJECT is that file. */
	.section .rodata
	.balign 16
	.global fastpath_object, fastpath_object_bytes
	.type fastpath_object, @object
fastpath_object:
	.incbin FASTPATH_OBJECT
	.size fastpath_object, . - fastpath_object
	.balign 8
	.type fastpath_object_bytes, @object
	.size fastpath_object_bytes, 8
fastpath_object_bytes:
	.quad fastpath_object_bytes - fastpath_object
	.section .note.GNU-stack, "", @progbits
