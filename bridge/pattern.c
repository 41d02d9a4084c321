#include "bridge/pattern.h"

/* Only the last "*" is ever tried again: what an earlier one could take more of,
 * the later one can take as well. So the work is bounded by the product of the lengths. */
bool pattern_matches(struct sn_bytes pattern, struct sn_bytes text)
{
    size_t p = 0;
    size_t t = 0;
    size_t star = SIZE_MAX; /* behind the last "*" */
    size_t taken = 0;       /* where the text goes on that it does not take */
    while (t < text.len) {
        if (p < pattern.len && pattern.data[p] == '*') {
            star = ++p;
            taken = t;
        } else if (p < pattern.len && (pattern.data[p] == '?' || pattern.data[p] == text.data[t])) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star;
            t = ++taken;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.data[p] == '*')
        p++;
    return p == pattern.len;
}
