#include "sim/parameters.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* ---- names and values -------------------------------------------------------- */

static bool is_of_name(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-';
}

static size_t name_len(const char *text)
{
    size_t len = 0;
    while (is_of_name(text[len]))
        len++;
    return len;
}

static struct sim_parameter *find(struct sim_parameters *p, const char *name, size_t len)
{
    for (uint32_t i = 0; i < p->count; i++)
        if (strlen(p->list[i].name) == len && memcmp(p->list[i].name, name, len) == 0)
            return &p->list[i];
    return NULL;
}

/* NULL, or what is wrong. */
static const char *put(struct sim_parameters *p, const char *name, size_t len, const char *value,
                       size_t value_len)
{
    struct sim_parameter *found = find(p, name, len);
    if (len == 0 || len > SIM_PARAMETER_NAME_MAX)
        return "a name of letters, digits, _ and -, at most 31, is wanted";
    if (value_len > SIM_PARAMETER_VALUE_MAX)
        return "the value is longer than 127 octets";
    if (found == NULL && p->count == SIM_PARAMETERS_MAX)
        return "there are more than 16 parameters";
    if (found == NULL)
        found = &p->list[p->count++];
    memcpy(found->name, name, len);
    found->name[len] = '\0';
    memcpy(found->value, value, value_len);
    found->value[value_len] = '\0';
    return NULL;
}

bool sim_parameters_set(struct sim_parameters *p, const char *assignment, FILE *errors)
{
    const size_t len = name_len(assignment);
    const char *fault = assignment[len] != '=' ? "NAME=VALUE is wanted"
                                               : put(p, assignment, len, assignment + len + 1,
                                                     strlen(assignment + len + 1));
    if (fault != NULL)
        fprintf(errors, "parameter %s: %s\n", assignment, fault);
    return fault == NULL;
}

/* ---- a text ------------------------------------------------------------------- */

struct text {
    const char *name;
    unsigned line;
    struct sim_parameters all;   /* defaults, and what wins over them */
    struct sim_parameters known; /* that the text has set so far */
    FILE *out;
    FILE *errors;
    bool is_wrong;
};

static void complain(struct text *t, const char *what, const char *detail, size_t len)
{
    fprintf(t->errors, "%s:%u: %s%.*s\n", t->name, t->line, what, (int)len, detail);
    t->is_wrong = true;
}

static void complain_of_unknown(struct text *t, const char *name, size_t len)
{
    complain(t, "there is no parameter $", name, len);
    for (uint32_t i = 0; i < t->known.count; i++)
        fprintf(t->errors, "%s%s", i == 0 ? "    known here: " : ", ", t->known.list[i].name);
    if (t->known.count > 0)
        fputc('\n', t->errors);
}

/* What stands at a dollar sign; returns how much of the line that was. */
static size_t put_value(struct text *t, const char *at)
{
    if (at[1] == '$') {
        fputc('$', t->out);
        return 2;
    }
    const bool braces = at[1] == '{';
    const char *name = at + (braces ? 2 : 1);
    const size_t len = name_len(name);
    if (len == 0 || (braces && name[len] != '}')) {
        complain(t, "$NAME, ${NAME} or $$ is wanted, not ", at, 2);
        return 1;
    }
    if (find(&t->known, name, len) == NULL)
        complain_of_unknown(t, name, len);
    else
        fputs(find(&t->all, name, len)->value, t->out);
    return (braces ? 3 : 1) + len;
}

/* "set NAME VALUE": the value is not touched, but what comes behind a # is a comment. */
static void define(struct text *t, const char *line, size_t len)
{
    const char *end = line + len;
    const char *name = line + strspn(line, " \t");
    const size_t named = name_len(name);
    const char *value = name + named;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    const char *stop = value;
    while (stop < end && !(*stop == '#' && (stop == value || stop[-1] == ' ' || stop[-1] == '\t')))
        stop++;
    while (stop > value && (stop[-1] == ' ' || stop[-1] == '\t' || stop[-1] == '\r'))
        stop--;

    const char *fault = find(&t->known, name, named) != NULL
                            ? "it is set already"
                            : put(&t->known, name, named, value, (size_t)(stop - value));
    if (fault == NULL && find(&t->all, name, named) == NULL)
        fault = put(&t->all, name, named, value, (size_t)(stop - value));
    if (fault != NULL)
        complain(t, "set: ", fault, strlen(fault));
}

static void put_line(struct text *t, const char *line, size_t len)
{
    if (len > 4 && memcmp(line, "set", 3) == 0 && (line[3] == ' ' || line[3] == '\t')) {
        define(t, line + 4, len - 4);
        return;
    }
    for (size_t i = 0; i < len;) {
        const bool begins_word = i == 0 || line[i - 1] == ' ' || line[i - 1] == '\t';
        if (line[i] == '#' && begins_word) {
            fwrite(line + i, 1, len - i, t->out);
            return;
        }
        if (line[i] == '$')
            i += put_value(t, line + i);
        else
            fputc(line[i++], t->out);
    }
}

char *sim_parameters_apply(const struct sim_parameters *p, const char *name, const char *text,
                           FILE *errors)
{
    char *result = NULL;
    size_t size = 0;
    struct text t = {.name = name,
                     .line = 1,
                     .all = *p,
                     .out = open_memstream(&result, &size),
                     .errors = errors};
    if (t.out == NULL)
        abort();
    while (*text != '\0') {
        const size_t len = strcspn(text, "\n");
        put_line(&t, text, len);
        text += len;
        if (*text == '\n') {
            fputc(*text++, t.out);
            t.line++;
        }
    }
    for (uint32_t i = 0; i < p->count; i++)
        if (find(&t.known, p->list[i].name, strlen(p->list[i].name)) == NULL)
            complain_of_unknown(&t, p->list[i].name, strlen(p->list[i].name));
    fclose(t.out);
    if (t.is_wrong) {
        free(result);
        return NULL;
    }
    return result;
}
