#include "bridge/broker_paho.h"

#include <stdlib.h>
#include <string.h>

/* ---- copies ------------------------------------------------------------------------- */

static void copy_text(const char **text)
{
    if (*text != NULL)
        *text = memcpy(paho_allocate(strlen(*text) + 1), *text, strlen(*text) + 1);
}

static void free_text(const char *text)
{
    char *owned;
    memcpy(&owned, &text, sizeof owned);
    free(owned);
}

void paho_free_options(struct broker_options *o)
{
    if (o == NULL)
        return;
    free_text(o->username);
    free_text(o->password);
    free_text(o->ca_file);
    free_text(o->cert_file);
    free_text(o->key_file);
    free(o);
}

/* ---- from the loop to our thread ------------------------------------------------------ */

void broker_configure(struct broker *b, const struct broker_options *o)
{
    struct broker_options *fresh = paho_allocate(sizeof *fresh);
    *fresh = *o;
    copy_text(&fresh->username);
    copy_text(&fresh->password);
    copy_text(&fresh->ca_file);
    copy_text(&fresh->cert_file);
    copy_text(&fresh->key_file);
    pthread_mutex_lock(&b->lock);
    struct broker_options *before = b->fresh;
    b->fresh = fresh;
    pthread_mutex_unlock(&b->lock);
    paho_free_options(before);
}

static void replace(char **owned, const char **used, const char **by)
{
    free(*owned);
    memcpy(owned, by, sizeof *owned);
    *used = *by;
    *by = NULL;
}

void paho_take_options(struct broker *b)
{
    struct broker_options *o = b->fresh;
    if (o == NULL)
        return;
    replace(&b->username, &b->options.username, &o->username);
    replace(&b->password, &b->options.password, &o->password);
    replace(&b->ca_file, &b->options.ca_file, &o->ca_file);
    replace(&b->cert_file, &b->options.cert_file, &o->cert_file);
    replace(&b->key_file, &b->options.key_file, &o->key_file);
    b->options.verify = o->verify;
    b->options.connect_timeout_s = o->connect_timeout_s;
    b->options.session_expiry_s = o->session_expiry_s;
    b->fresh = NULL;
    paho_free_options(o);
}
