/* A stand-in of NVIDIA's libnvidia-ml.so: it answers from a table, and no card is behind it.
 *
 * For tests and experiments only: what reads a GPU's figures can be shown a lower power limit, a lost card, an XID or
 * ECC errors without touching a card. Its driver version says STAND-IN. Names, numbers and layouts are those of the
 * public interface (nvml.h), so that a reader runs on it unchanged.
 *
 * The table is read anew for every question: lines DEVICE KEY VALUE, DEVICE is 0, 1, ... or *, a later line wins, and
 * what follows " #" is a remark. CLUSTER_NVML_STAND_IN names the file.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEFAULT_TABLE "/run/cluster-nvml-stand-in/table"
#define MOST_DEVICES 64
#define LINE_BYTES 512

enum { OK = 0, UNINITIALISED = 1, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, TIMEOUT = 10, LOST = 15 };
enum { EVENT_DOUBLE_BIT_ECC = 2, EVENT_XID = 8 };
enum { THROTTLED_BY_CLOCK_SETTING = 2, THROTTLED_BY_POWER_CAP = 4 };

typedef int result;
typedef unsigned int u32;
typedef unsigned long long u64;
struct device { u32 index; };
typedef struct device *device;
struct events { u64 wanted[MOST_DEVICES]; u64 seen_xid[MOST_DEVICES]; u64 seen_ecc[MOST_DEVICES]; };
typedef struct { u64 total, free, used; } memory;
typedef struct { u32 version; u64 total, reserved, free, used; } memory_v2;
typedef struct { u32 gpu, memory; } utilization;
typedef struct { char legacy[16]; u32 domain, bus, device, id, subsystem; char bus_id[32]; } pci;
typedef struct { device device; u64 type, data; u32 gpu_instance, compute_instance; } event;

static struct device devices[MOST_DEVICES];
static int begun;

/* The last value of a key, 1 when there is one. */
static int find(const char *who, const char *key, char *value, size_t length)
{
    const char *path = getenv("CLUSTER_NVML_STAND_IN");
    FILE *table = fopen(path && *path ? path : DEFAULT_TABLE, "re");
    char line[LINE_BYTES], device_text[16], key_text[64];
    int found = 0, at = 0;
    if (!table)
        return 0;
    while (fgets(line, sizeof line, table)) {
        char *remark = strstr(line, " #");
        if (remark)
            *remark = 0;
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "%15s %63s %n", device_text, key_text, &at) < 2 || strcmp(key_text, key) || strcmp(device_text, who))
            continue;
        snprintf(value, length, "%s", line + at);
        found = 1;
    }
    fclose(table);
    return found;
}

static int text_of(u32 index, const char *key, char *value, size_t length)
{
    char who[16];
    snprintf(who, sizeof who, "%u", index);
    return find(who, key, value, length);
}

static u64 number_of(u32 index, const char *key, u64 otherwise)
{
    char value[LINE_BYTES];
    return text_of(index, key, value, sizeof value) ? strtoull(value, NULL, 10) : otherwise;
}

static u32 count(void)
{
    char value[LINE_BYTES];
    u32 found = find("*", "count", value, sizeof value) ? (u32)strtoul(value, NULL, 10) : 0;
    return found > MOST_DEVICES ? MOST_DEVICES : found;
}

static result check(device which)
{
    if (!begun)
        return UNINITIALISED;
    if (which < devices || which >= devices + MOST_DEVICES || which->index >= count())
        return INVALID;
    return number_of(which->index, "lost", 0) ? LOST : OK;
}

static result give(device which, const char *key, u32 *value)
{
    char text[LINE_BYTES];
    result checked = check(which);
    if (checked || !value)
        return checked ? checked : INVALID;
    if (!text_of(which->index, key, text, sizeof text))
        return NOT_SUPPORTED;
    *value = (u32)strtoul(text, NULL, 10);
    return OK;
}

static result give_text(const char *text, char *out, u32 length)
{
    if (!out || strlen(text) + 1 > length)
        return TOO_SMALL;
    strcpy(out, text);
    return OK;
}

result nvmlInitWithFlags(u32 flags)
{
    (void)flags;
    for (u32 place = 0; place < MOST_DEVICES; place++)
        devices[place].index = place;
    begun = 1;
    return OK;
}
result nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
result nvmlInit(void) { return nvmlInitWithFlags(0); }
result nvmlShutdown(void) { begun = 0; return OK; }

const char *nvmlErrorString(result code)
{
    switch (code) {
    case OK: return "Success";
    case UNINITIALISED: return "Uninitialized";
    case INVALID: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case NOT_FOUND: return "Not Found";
    case TOO_SMALL: return "Insufficient Size";
    case TIMEOUT: return "Timeout";
    case LOST: return "GPU is lost";
    default: return "Unknown Error";
    }
}

result nvmlSystemGetDriverVersion(char *version, u32 length)
{
    char value[LINE_BYTES];
    return give_text(find("*", "driver_version", value, sizeof value) ? value : "0.0-STAND-IN", version, length);
}
result nvmlSystemGetNVMLVersion(char *version, u32 length) { return give_text("12.0-STAND-IN", version, length); }

result nvmlDeviceGetCount_v2(u32 *found)
{
    if (!begun || !found)
        return begun ? INVALID : UNINITIALISED;
    *found = count();
    return OK;
}
result nvmlDeviceGetCount(u32 *found) { return nvmlDeviceGetCount_v2(found); }

result nvmlDeviceGetHandleByIndex_v2(u32 index, device *found)
{
    if (!begun || !found)
        return begun ? INVALID : UNINITIALISED;
    if (index >= count())
        return INVALID;
    *found = &devices[index];
    return number_of(index, "lost", 0) ? LOST : OK;
}
result nvmlDeviceGetHandleByIndex(u32 index, device *found) { return nvmlDeviceGetHandleByIndex_v2(index, found); }

result nvmlDeviceGetHandleByUUID(const char *uuid, device *found)
{
    char value[LINE_BYTES];
    for (u32 place = 0; begun && uuid && found && place < count(); place++)
        if (text_of(place, "uuid", value, sizeof value) && !strcmp(value, uuid))
            return nvmlDeviceGetHandleByIndex_v2(place, found);
    return begun ? NOT_FOUND : UNINITIALISED;
}

result nvmlDeviceGetIndex(device which, u32 *index)
{
    result checked = check(which);
    if (!checked)
        *index = which->index;
    return checked;
}

result nvmlDeviceGetName(device which, char *name, u32 length)
{
    char value[LINE_BYTES];
    result checked = check(which);
    return checked ? checked : give_text(text_of(which->index, "name", value, sizeof value) ? value : "Stand-in", name, length);
}

result nvmlDeviceGetUUID(device which, char *uuid, u32 length)
{
    char value[LINE_BYTES];
    result checked = check(which);
    if (checked)
        return checked;
    if (!text_of(which->index, "uuid", value, sizeof value))
        snprintf(value, sizeof value, "GPU-00000000-0000-0000-0000-%012u", which->index);
    return give_text(value, uuid, length);
}

result nvmlDeviceGetPciInfo_v3(device which, pci *found)
{
    result checked = check(which);
    if (checked)
        return checked;
    memset(found, 0, sizeof *found);
    found->bus = which->index + 1;
    snprintf(found->bus_id, sizeof found->bus_id, "00000000:%02X:00.0", found->bus);
    snprintf(found->legacy, sizeof found->legacy, "0000:%02X:00.0", found->bus);
    return OK;
}

result nvmlDeviceGetMemoryInfo(device which, memory *found)
{
    result checked = check(which);
    if (checked)
        return checked;
    found->total = number_of(which->index, "memory_total_bytes", 0);
    found->used = number_of(which->index, "memory_used_bytes", 0);
    found->free = found->total > found->used ? found->total - found->used : 0;
    return OK;
}

result nvmlDeviceGetMemoryInfo_v2(device which, memory_v2 *found)
{
    memory plain;
    result checked = nvmlDeviceGetMemoryInfo(which, &plain);
    if (checked)
        return checked;
    found->total = plain.total, found->used = plain.used, found->free = plain.free, found->reserved = 0;
    return OK;
}

result nvmlDeviceGetUtilizationRates(device which, utilization *found)
{
    result checked = check(which);
    if (checked)
        return checked;
    found->gpu = (u32)number_of(which->index, "utilization_percent", 0);
    found->memory = (u32)number_of(which->index, "memory_utilization_percent", 0);
    return OK;
}

result nvmlDeviceGetTemperature(device which, int sensor, u32 *celsius)
{
    (void)sensor;
    return give(which, "temperature_celsius", celsius);
}

result nvmlDeviceGetEnforcedPowerLimit(device which, u32 *milliwatts) { return give(which, "power_limit_milliwatts", milliwatts); }
result nvmlDeviceGetPowerManagementLimit(device which, u32 *milliwatts) { return give(which, "power_limit_milliwatts", milliwatts); }
result nvmlDeviceGetPowerManagementDefaultLimit(device which, u32 *milliwatts)
{
    return give(which, "default_power_limit_milliwatts", milliwatts);
}

/* A card draws no more than its limit. */
result nvmlDeviceGetPowerUsage(device which, u32 *milliwatts)
{
    result found = give(which, "power_milliwatts", milliwatts);
    u64 limit = found ? 0 : number_of(which->index, "power_limit_milliwatts", 0);
    if (!found && limit && *milliwatts > limit)
        *milliwatts = (u32)limit;
    return found;
}

result nvmlDeviceGetClockInfo(device which, int domain, u32 *megahertz)
{
    return give(which, domain == 2 ? "memory_clock_megahertz" : "clock_megahertz", megahertz);
}
result nvmlDeviceGetMaxClockInfo(device which, int domain, u32 *megahertz)
{
    return give(which, domain == 2 ? "memory_clock_megahertz" : "maximum_clock_megahertz", megahertz);
}

result nvmlDeviceGetCurrentClocksEventReasons(device which, u64 *reasons)
{
    result checked = check(which);
    if (checked)
        return checked;
    u64 limit = number_of(which->index, "power_limit_milliwatts", 0);
    u64 clock = number_of(which->index, "clock_megahertz", 0);
    *reasons = 0;
    if (limit && number_of(which->index, "power_milliwatts", 0) > limit)
        *reasons |= THROTTLED_BY_POWER_CAP;
    if (clock && clock < number_of(which->index, "maximum_clock_megahertz", 0))
        *reasons |= THROTTLED_BY_CLOCK_SETTING;
    return OK;
}
result nvmlDeviceGetCurrentClocksThrottleReasons(device which, u64 *reasons)
{
    return nvmlDeviceGetCurrentClocksEventReasons(which, reasons);
}

/* kind 0: corrected, 1: uncorrected. */
result nvmlDeviceGetTotalEccErrors(device which, int kind, int counter, u64 *errors)
{
    result checked = check(which);
    (void)counter;
    if (!checked)
        *errors = number_of(which->index, kind == 1 ? "ecc_uncorrected" : "ecc_corrected", 0);
    return checked;
}

result nvmlDeviceGetSupportedEventTypes(device which, u64 *types)
{
    result checked = check(which);
    if (!checked)
        *types = EVENT_DOUBLE_BIT_ECC | EVENT_XID;
    return checked;
}

result nvmlEventSetCreate(struct events **set)
{
    *set = begun ? calloc(1, sizeof **set) : NULL;
    return begun ? OK : UNINITIALISED;
}
result nvmlEventSetFree(struct events *set) { free(set); return OK; }

result nvmlDeviceRegisterEvents(device which, u64 types, struct events *set)
{
    result checked = check(which);
    if (checked)
        return checked;
    set->wanted[which->index] |= types;
    set->seen_xid[which->index] = number_of(which->index, "xid", 0);
    set->seen_ecc[which->index] = number_of(which->index, "ecc_uncorrected", 0);
    return OK;
}

/* What is new in the table since it was registered, or last told. */
static int next(struct events *set, event *found)
{
    for (u32 place = 0; place < count(); place++) {
        u64 xid = number_of(place, "xid", 0), ecc = number_of(place, "ecc_uncorrected", 0);
        int told = 0;
        if (xid && xid != set->seen_xid[place] && set->wanted[place] & EVENT_XID)
            *found = (event){&devices[place], EVENT_XID, xid, ~0u, ~0u}, told = 1;
        else if (ecc > set->seen_ecc[place] && set->wanted[place] & EVENT_DOUBLE_BIT_ECC)
            *found = (event){&devices[place], EVENT_DOUBLE_BIT_ECC, ecc, ~0u, ~0u}, told = 2;
        if (told != 2)
            set->seen_xid[place] = xid;
        if (told != 1)
            set->seen_ecc[place] = ecc;
        if (told)
            return 1;
    }
    return 0;
}

result nvmlEventSetWait_v2(struct events *set, event *found, u32 milliseconds)
{
    const struct timespec pause = {0, 10 * 1000 * 1000};
    for (u32 waited = 0;; waited += 10) {
        if (next(set, found))
            return OK;
        if (waited >= milliseconds)
            return TIMEOUT;
        nanosleep(&pause, NULL);
    }
}
result nvmlEventSetWait(struct events *set, event *found, u32 milliseconds) { return nvmlEventSetWait_v2(set, found, milliseconds); }
