#include "sim/orbit.h"

#define TURN       18446744073709551616.0 /* 2^64 */
#define ONE        1073741824.0           /* 2^30 */
#define PI         3.14159265358979323846
#define QUARTER    ((uint64_t)1 << 62)
#define STEP_MS    10000u
#define HORIZON_MS (30 * 86400000u)

/* WGS 84 and EGM96. */
#define EARTH_RADIUS_M   6378137.0
#define EARTH_FLATTENING (1 / 298.257223563)
#define EARTH_MU         3.986004418e14 /* m^3 / s^2 */
#define EARTH_J2         1.08262668e-3
#define EARTH_RAD_PER_S  7.292115e-5 /* against the stars */

/* x in 2^-30 of a quarter turn, from 0 to 2^30. Taylor's series up to x^13; the next term
 * is below 2^-30. */
static int32_t sine_of_quarter(uint32_t x)
{
    const int64_t radians = (int64_t)x * 1686629713 >> 30; /* pi / 2 in 2^-30 */
    const int64_t square = radians * radians >> 30;
    int64_t sum = (1 << 30) - square / (12 * 13);
    for (int64_t n = 10; n >= 2; n -= 2)
        sum = (1 << 30) - (square * sum >> 30) / (n * (n + 1));
    return (int32_t)(radians * sum >> 30);
}

int32_t sim_sine(uint64_t angle)
{
    const bool is_negative = angle >> 63 != 0;
    angle &= 2 * QUARTER - 1;
    if (angle > QUARTER)
        angle = 2 * QUARTER - angle;
    const int32_t sine = sine_of_quarter((uint32_t)(angle >> 32));
    return is_negative ? -sine : sine;
}

static int32_t cosine(uint64_t angle)
{
    return sim_sine(angle + QUARTER);
}

/* Thousandths of a degree, of either sign. */
static uint64_t angle_of(int32_t millidegrees)
{
    const int64_t positive = ((int64_t)millidegrees % 360000 + 360000) % 360000;
    return (uint64_t)((double)positive / 360000 * (TURN / 65536)) << 16;
}

/* Newton's method, which doubles the exact digits with every step. */
static double square_root(double x)
{
    double root = x > 1 ? x : 1;
    for (int i = 0; i < 100; i++)
        root = (root + x / root) / 2;
    return root;
}

static uint64_t whole_root(uint64_t x)
{
    uint64_t root = 0;
    for (uint64_t bit = (uint64_t)1 << 31; bit > 0; bit >>= 1)
        if ((root + bit) * (root + bit) <= x)
            root += bit;
    return root;
}

/* Turns per millisecond of an angular speed, in 2^-64. */
static uint64_t per_ms(double rad_per_s)
{
    const double turns = rad_per_s / (2 * PI * 1000) * TURN;
    return turns < 0 ? 0 - (uint64_t)-turns : (uint64_t)turns;
}

static void place_station(struct sim_orbit *o, const struct sim_profile *p)
{
    const uint64_t latitude = angle_of(p->station_latitude);
    const uint64_t longitude = angle_of(p->station_longitude);
    const double north = sim_sine(latitude) / ONE;
    const double out = cosine(latitude) / ONE;
    const double x = cosine(longitude) / ONE;
    const double y = sim_sine(longitude) / ONE;
    const double e2 = EARTH_FLATTENING * (2 - EARTH_FLATTENING);
    const double radius_m = EARTH_RADIUS_M / square_root(1 - e2 * north * north);
    o->station_m[0] = (int64_t)(radius_m * out * x);
    o->station_m[1] = (int64_t)(radius_m * out * y);
    o->station_m[2] = (int64_t)(radius_m * (1 - e2) * north);
    o->up[0] = (int32_t)(out * x * ONE);
    o->up[1] = (int32_t)(out * y * ONE);
    o->up[2] = (int32_t)(north * ONE);
    o->sin_elevation = sim_sine(angle_of(p->station_elevation));
}

void sim_orbit_init(struct sim_orbit *o, const struct sim_profile *p)
{
    const uint64_t inclination = angle_of(p->orbit_inclination);
    o->radius_m = (int64_t)EARTH_RADIUS_M + 1000 * (int64_t)p->orbit_altitude_km;
    o->sin_inclination = sim_sine(inclination);
    o->cos_inclination = cosine(inclination);

    /* Kaula: what J2 does to the node, and to the angle from the node, of a circular orbit. */
    const double radius_m = (double)o->radius_m;
    const double rad_per_s = square_root(EARTH_MU / radius_m) / radius_m;
    const double shape = EARTH_RADIUS_M / radius_m;
    const double j2 = 1.5 * EARTH_J2 * shape * shape;
    const double cos_i = o->cos_inclination / ONE;
    const double node_rad_per_s = -j2 * rad_per_s * cos_i;
    const double phase_rad_per_s = rad_per_s * (1 + j2 * (4 * cos_i * cos_i - 1));

    o->phase = angle_of(p->orbit_phase);
    o->phase_per_ms = per_ms(phase_rad_per_s);
    o->node = angle_of(p->orbit_node);
    o->node_per_ms = per_ms(node_rad_per_s - EARTH_RAD_PER_S);
    place_station(o, p);
}

/* A product with a number in 2^-30. */
static int64_t times(int64_t a, int64_t b)
{
    return a * b / (1 << 30);
}

int32_t sim_orbit_height(const struct sim_orbit *o, uint64_t ms)
{
    const uint64_t phase = o->phase + o->phase_per_ms * ms;
    const uint64_t node = o->node + o->node_per_ms * ms;
    const int64_t along = cosine(phase); /* towards the ascending node */
    const int64_t across = sim_sine(phase);
    const int64_t level = times(across, o->cos_inclination);
    const int64_t unit[3] = {
        times(along, cosine(node)) - times(level, sim_sine(node)),
        times(along, sim_sine(node)) + times(level, cosine(node)),
        times(across, o->sin_inclination),
    };
    int64_t height_m = 0; /* above the station's horizon */
    uint64_t square = 0;
    for (int i = 0; i < 3; i++) {
        const int64_t d = times(o->radius_m, unit[i]) - o->station_m[i];
        height_m += times(d, o->up[i]);
        square += (uint64_t)(d * d);
    }
    return (int32_t)(height_m * (1 << 30) / (int64_t)whole_root(square));
}

bool sim_orbit_is_visible(const struct sim_orbit *o, uint64_t ms)
{
    return sim_orbit_height(o, ms) >= o->sin_elevation;
}

/* The first millisecond of a change between low, where it is as said, and high, where it is
 * not. */
static uint64_t change_between(const struct sim_orbit *o, uint64_t low, uint64_t high,
                               bool visible_at_low)
{
    while (high - low > 1) {
        const uint64_t middle = low + (high - low) / 2;
        if (sim_orbit_is_visible(o, middle) == visible_at_low)
            low = middle;
        else
            high = middle;
    }
    return high;
}

struct sim_span sim_orbit_next(const struct sim_orbit *o, uint64_t now_us)
{
    const uint64_t start_ms = now_us / SIM_MS;
    uint64_t at = start_ms;
    uint64_t from_ms = start_ms;
    if (!sim_orbit_is_visible(o, at)) {
        while (!sim_orbit_is_visible(o, at + STEP_MS)) {
            at += STEP_MS;
            if (at - start_ms > HORIZON_MS)
                return (struct sim_span){SIM_NEVER, SIM_NEVER};
        }
        from_ms = change_between(o, at, at + STEP_MS, false);
        at = from_ms;
    }
    while (sim_orbit_is_visible(o, at + STEP_MS)) {
        at += STEP_MS;
        if (at - start_ms > HORIZON_MS)
            break; /* a geostationary one; ask again then */
    }
    const uint64_t to_ms = change_between(o, at, at + STEP_MS, true);
    return (struct sim_span){from_ms * SIM_MS, to_ms * SIM_MS};
}
