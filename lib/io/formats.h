/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_FORMATS_H
#define SG_FORMATS_H

#include "core/status.h"
#include "core/table.h"
#include "io/sink.h"

/* The formats behind io/table_io.h, one file each. Writers leave failures in the sink. */
void sg_csv_write(const sg_table *table, sg_sink *sink);

#endif
