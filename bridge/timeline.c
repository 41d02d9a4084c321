#include "bridge/timeline.h"

bool timeline_is_set(uint64_t wall_ms)
{
    return wall_ms >= TIMELINE_SET_MS;
}

uint64_t timeline_resume(const struct timeline_mark *last, const struct timeline_mark *now)
{
    if (last->own_ms == 0)
        return now->wall_ms;
    if (last->boot != 0 && last->boot == now->boot && last->boot_ms <= now->boot_ms)
        return last->own_ms + (now->boot_ms - last->boot_ms);
    if (timeline_is_set(last->wall_ms) && last->wall_ms <= now->wall_ms &&
        now->wall_ms - last->wall_ms <= TIMELINE_GAP_MAX_MS)
        return last->own_ms + (now->wall_ms - last->wall_ms);
    return last->own_ms;
}
