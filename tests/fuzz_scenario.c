/* Any text as a scenario: it is refused with complaints, or has a meaning. Seeds:
 * tests/corpus/scenario/. */
#include "sim/scenario.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct sim_profiles profiles;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *errors = NULL;
    size_t len;
    char *text = malloc(size + 1);
    if (text == NULL || (profiles.count == 0 && sim_profiles_open(&profiles, NULL, stderr) != 0))
        abort();
    memcpy(text, data, size);
    text[size] = '\0';
    FILE *out = open_memstream(&errors, &len);
    struct sim_scenario *s = sim_scenario_read("fuzz.sim", text, &profiles, out);
    fclose(out);
    assert((s == NULL) == (errors[0] != '\0'));
    if (s != NULL)
        sim_scenario_close(s);
    free(errors);
    free(text);
    return 0;
}
