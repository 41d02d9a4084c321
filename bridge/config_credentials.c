/* The file of logins for sensors that have a broker connection of their own. */
#include "bridge/config_parts.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BLANKS " \t\r\n"

/* A fault in that file, not in the configuration. */
static void fault(struct config_reading *r, unsigned line, const char *what)
{
    if (++r->faults <= CONFIG_ERRORS_MAX)
        fprintf(r->errors, "%s:%u: %s\n", r->config.credentials_file, line, what);
}

/* Passwords are nobody else's business. */
static bool is_private(struct config_reading *r, FILE *f)
{
    struct stat st;
    if (fstat(fileno(f), &st) != 0 || (st.st_mode & (S_IRWXG | S_IRWXO)) == 0)
        return true;
    if (config_fault_begins(
            r,
            r->key_line[config_key_index(config_find_key(CONFIG_IN_BROKER, "credentials_file"))]))
        fprintf(r->errors,
                "[broker] credentials_file: found \"%s\" with mode %04o, others must not read it; "
                "chmod 600\n",
                r->config.credentials_file, (unsigned)st.st_mode & 07777);
    return false;
}

/* The field up to the colon, or to the end, without blanks around it; NULL: there is none. */
static char *next_field(char **at, bool last)
{
    char *field = *at;
    if (field == NULL)
        return NULL;
    char *colon = last ? NULL : strchr(field, ':');
    *at = colon == NULL ? NULL : colon + 1;
    if (colon != NULL)
        *colon = '\0';
    field += strspn(field, BLANKS);
    size_t len = strlen(field);
    while (len > 0 && strchr(BLANKS, field[len - 1]) != NULL)
        field[--len] = '\0';
    return field;
}

static bool take_login(struct config_reading *r, unsigned line, char *text,
                       struct broker_login *login)
{
    char *at = text;
    const char *pattern = next_field(&at, false);
    const char *username = next_field(&at, false);
    const char *password = next_field(&at, true);
    if (pattern[0] == '\0' || username == NULL || username[0] == '\0' || password == NULL) {
        fault(r, line, "a line is CLIENTS : USER : PASSWORD, or begins with #");
        return false;
    }
    *login = (struct broker_login){.pattern = config_own_text(&r->config, pattern),
                                   .username = config_own_text(&r->config, username),
                                   .password = config_own_text(&r->config, password)};
    return true;
}

static void read_lines(struct config_reading *r, FILE *f)
{
    struct broker_login *logins = NULL;
    size_t count = 0;
    size_t room = 0;
    char *text = NULL;
    size_t size = 0;
    for (unsigned line = 1; getline(&text, &size, f) >= 0; line++) {
        const char first = text[strspn(text, BLANKS)];
        if (first == '\0' || first == '#')
            continue;
        if (count == room) {
            room = room == 0 ? 16 : 2 * room;
            logins = realloc(logins, room * sizeof *logins);
            assert(logins != NULL);
        }
        count += take_login(r, line, text, &logins[count]);
    }
    free(text);
    if (logins != NULL)
        config_own(&r->config, logins);
    r->config.broker.logins = logins;
    r->config.broker.login_count = count;
}

void config_read_credentials(struct config_reading *r)
{
    FILE *f = r->config.credentials_file == NULL ? NULL : fopen(r->config.credentials_file, "re");
    if (f == NULL)
        return; /* not set, or it has been said when the key was read */
    if (is_private(r, f))
        read_lines(r, f);
    fclose(f);
}
