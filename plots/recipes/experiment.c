/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plots/recipes/experiment.h"

#include <stdio.h>
#include <unistd.h>

/* False when the name is too long. */
static bool path_of(const sg_figure_options *options, const char *name, char *path, size_t size)
{
    const char *folder =
        options->experiments != NULL ? options->experiments : "notebooks-data/experiments";
    int length = options->experiment != NULL ? snprintf(path, size, "%s", options->experiment)
                                             : snprintf(path, size, "%s/%s.yaml", folder, name);
    return length > 0 && (size_t)length < size;
}

bool sg_recipe_has_experiment(const sg_recipe *recipe, const sg_figure_options *options)
{
    char path[4200];
    return path_of(options, recipe->name, path, sizeof path) && access(path, F_OK) == 0;
}

sg_status sg_experiment_read(const sg_figure_options *options, const char *name, sg_config *config,
                             sg_error *error)
{
    char path[4200];
    if (!path_of(options, name, path, sizeof path))
        return sg_fail(error, SG_EARGUMENT, "the name of the experiment's file is too long");
    sg_status status = sg_config_read(config, path, error);
    if (options->seed != 0)
        config->run.seed = (int64_t)options->seed;
    if (options->threads != 0)
        config->run.threads = options->threads;
    return status;
}

sg_status sg_experiment_run(const sg_figure_options *options, const sg_config *config,
                            const sg_simulate_callbacks *callbacks, sg_table **runs,
                            sg_error *error)
{
    sg_status status =
        sg_simulate(config, callbacks != NULL ? callbacks : options->callbacks, runs, error);
    if (status == SG_EINTERRUPTED) {
        sg_table_free(*runs);
        *runs = NULL;
    }
    return status;
}

sg_status sg_experiment_copy_meta(sg_table *to, const sg_table *from, sg_error *error)
{
    const char *key, *value;
    sg_status status = SG_OK;
    for (size_t i = 0; sg_table_meta_at(from, i, &key, &value) && status == SG_OK; i++)
        status = sg_table_set_meta(to, key, value, error);
    return status;
}
