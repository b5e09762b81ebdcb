/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What trainers and papers call the keys of an experiment. No key is read under such a name: a file means one thing only. The
 * message about an unknown key says which one is meant. */
#include <string.h>

#include "sim/config_keys.h"

static const struct {
    const char *key;   /* "" after the point: the section itself */
    const char *names; /* between commas, with _ for - and in small letters */
} synonyms[] = {
    {"policy.kind", ",model_type,architecture,"},
    {"policy.vocabulary", ",vocab,vocab_size,num_tokens,"},
    {"policy.precision", ",dtype,torch_dtype,"},
    {"policy.width", ",hidden_size,d_model,embed_dim,embedding_dim,"},
    {"policy.blocks", ",layers,num_layers,n_layers,num_hidden_layers,"},
    {"policy.hidden", ",intermediate_size,d_ff,moe_intermediate_size,"},
    {"policy.experts", ",num_experts,n_experts,num_local_experts,"},
    {"policy.top_k", ",num_experts_per_tok,moe_topk,experts_per_token,"},
    {"policy.tied", ",tie_word_embeddings,tie_embeddings,"},
    {"policy.window", ",context,context_length,"},
    {"policy.", ",model,actor,"},
    {"task.prompts", ",num_prompts,n_prompts,train_batch_size,prompt_batch_size,"},
    {"task.length", ",response_length,max_response_length,max_tokens,max_new_tokens,max_length,"
                    "horizon,seq_len,max_completion_length,"},
    {"task.", ",environment,env,data,dataset,"},
    {"rollout.group", ",group_size,num_generations,rollout_n,n,samples,samples_per_prompt,"
                      "n_samples_per_prompt,responses,generations,"},
    {"rollout.lag", ",staleness,max_staleness,off_policy_lag,"},
    {"rollout.", ",sampler,sampling,generation,"},
    {"update.objectives",
     ",objective,loss,losses,loss_type,loss_mode,methods,method,algorithms,arms,"},
    {"update.advantage", ",advantage_estimator,adv_estimator,estimator,"},
    {"update.aggregate", ",loss_agg_mode,aggregation,loss_aggregation,loss_reduction,reduction,"},
    {"update.minibatches", ",num_minibatches,mini_batches,num_mini_batches,minibatch,"},
    {"update.epochs", ",ppo_epochs,num_epochs,num_iterations,mu,inner_epochs,"},
    {"update.mismatch_cap", ",tis_cap,tis_imp_ratio_cap,rollout_is_threshold,is_cap,"},
    {"update.kl_beta", ",kl_coef,kl_loss_coef,kl_coefficient,kl_ctl,beta,init_kl_coef,"},
    {"update.kl", ",kl_type,kl_loss_type,kl_estimator,kl_penalty,"},
    {"update.", ",algorithm,algo,"},
    {"optimizer.kind", ",optim,algorithm,"},
    {"optimizer.lr", ",learning_rate,learningrate,step_size,alpha,"},
    {"optimizer.beta1", ",momentum,adam_beta1,"},
    {"optimizer.beta2", ",adam_beta2,"},
    {"optimizer.eps", ",epsilon,adam_eps,adam_epsilon,"},
    {"optimizer.weight_decay", ",wd,decay,"},
    {"optimizer.clip_norm", ",grad_clip,clip_grad,gradient_clip,max_grad_norm,gradient_clipping,"
                            "grad_clip_norm,clip,"},
    {"optimizer.schedule", ",scheduler,lr_scheduler,lr_scheduler_type,lr_schedule,"},
    {"optimizer.warmup", ",warmup_steps,lr_warmup_steps,num_warmup_steps,"},
    {"optimizer.final_rate", ",min_lr_ratio,lr_min_ratio,"},
    {"optimizer.", ",optim,optimiser,"},
    {"run.seed", ",random_seed,"},
    {"run.seeds", ",num_seeds,n_seeds,replicates,repeats,repetitions,"},
    {"run.steps", ",iterations,num_steps,n_steps,max_steps,total_steps,train_steps,training_steps,"
                  "total_training_steps,"},
    {"run.observe_every", ",log_every,logging_steps,record_every,log_interval,"},
    {"run.evaluate_every", ",eval_every,eval_steps,eval_interval,test_freq,"},
    {"run.threads", ",num_threads,n_threads,workers,num_workers,jobs,cpus,"},
    {"run.backend", ",device,accelerator,"},
    {"run.", ",train,training,trainer,"},
    {"start.", ",warm_start,sft,pretrain,init,"},
};

static bool is_listed(const char *names, const char *name)
{
    char word[64] = ",";
    size_t length = strlen(name);
    if (length == 0 || length + 3 > sizeof word || strchr(name, ',') != NULL)
        return false;
    for (size_t i = 0; i < length; i++)
        word[i + 1] = sg_config_plain(name[i]);
    word[length + 1] = ',';
    word[length + 2] = '\0';
    return strstr(names, word) != NULL;
}

const char *sg_config_synonym(const char *section, const char *name)
{
    const char *elsewhere = NULL;
    for (size_t i = 0; i < sizeof synonyms / sizeof *synonyms; i++) {
        const char *key = synonyms[i].key;
        size_t length = strcspn(key, ".");
        bool is_section = key[length + 1] == '\0';
        if (!is_listed(synonyms[i].names, name) || (section != NULL && is_section))
            continue;
        if (section == NULL ? is_section
                            : strncmp(key, section, length) == 0 && section[length] == '\0')
            return key;
        if (elsewhere == NULL)
            elsewhere = key;
    }
    return elsewhere;
}

const char *sg_config_synonym_at(size_t index)
{
    return index < sizeof synonyms / sizeof *synonyms ? synonyms[index].key : NULL;
}
