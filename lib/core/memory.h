/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_MEMORY_H
#define SG_MEMORY_H

/* Bytes of memory that there are for this process: the machine's, or less where it runs in a
 * container with a limit (cgroup); 0 when that is not known. */
double sg_memory_there(void);

/* The limit that stands in a file of a cgroup; infinity for "max", for anything else that is no
 * number, and where there is no file. */
double sg_memory_limit(const char *path);

#endif
