/* Chain: an operator for onnxruntime that computes many elementwise operators of float32 in one pass over memory, for one
 * time-step or for many, with states that go from step to step.
 *
 * A chain is a program for a machine whose registers are blocks of BLOCK floats. Each step of it is
 *
 *     op, destination, a, b, c
 *
 * in registers. Attributes (integers but for the last):
 *     program    five numbers a step
 *     registers  how many there are; those of the inputs come first, then those of the constants
 *     input_kinds  for each input 0: the same at all time-steps, 1: its first axis is time, 2: a state's first value
 *     results    for each output its register and 0: of each time-step (as the inputs), 1: of the last one alone
 *     states     for each state its register and the one of its next value
 *     timed      whether there is time; the last input then has as many numbers as time-steps, and no register
 *     constants  floats
 *
 * BlockedChain is a chain in the order of onnxruntime's convolutions (NCHWc): tensors of [.., C, H, W] lie in memory as
 * [.., C / block, H, W, block]. It has two attributes more:
 *     block      how many channels lie side by side; C is a multiple of it, or 1
 *     turned     for each input whether it lies in the plain order, and is turned as it is read
 *
 * Shapes broadcast as in ONNX, and each register has the shape that its own inputs give it: outputs of one shape are
 * computed together. Sums are rounded as written (-ffp-contract=off), so that results are those of the single operators.
 *
 * The declarations below are as much of onnxruntime's C API, which never changes its order, as this needs.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#define CALL __stdcall
#else
#define EXPORT __attribute__((visibility("default")))
#define CALL
#endif

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__)
#define WIDEST __attribute__((target_clones("avx512f", "avx2", "sse4.1", "default")))
#else
#define WIDEST
#endif

#if defined(__GNUC__)
#define INLINE __attribute__((always_inline)) inline
#define FETCH(place, write) __builtin_prefetch(place, write)
#define ALIGNED __attribute__((aligned(64)))
#else
#define INLINE
#define FETCH(place, write)
#define ALIGNED
#endif

enum { BLOCK = 256, LINE = 16, MOST_REGISTERS = 128, MOST_RANK = 8, MOST_ENDS = 64, GRAIN = 16384, API = 20 };

/* ---- onnxruntime's C API ---- */

typedef struct Status Status;
typedef void *const *Api;
typedef struct {
    Api(CALL *get_api)(uint32_t);
    const char *(CALL *version)(void);
} ApiBase;

enum {
    CREATE_STATUS = 0,
    CREATE_DOMAIN = 26,
    DOMAIN_ADD = 27,
    ADD_DOMAIN = 28,
    TENSOR_DATA = 51,
    DIMENSIONS_COUNT = 61,
    DIMENSIONS = 62,
    TENSOR_SHAPE = 65,
    ATTRIBUTE_INT = 86,
    INPUT_COUNT = 88,
    OUTPUT_COUNT = 89,
    INPUT = 90,
    OUTPUT = 91,
    RELEASE_SHAPE = 99,
    ATTRIBUTE_FLOATS = 162,
    ATTRIBUTE_INTS = 163,
    PARALLEL_FOR = 274,
};

#define AS(api, index, result, ...) ((result(CALL *)(__VA_ARGS__))(api)[index])

typedef struct CustomOp {
    uint32_t version;
    void *(CALL *create)(const struct CustomOp *, Api, const void *);
    const char *(CALL *name)(const struct CustomOp *);
    const char *(CALL *provider)(const struct CustomOp *);
    int(CALL *input_type)(const struct CustomOp *, size_t);
    size_t(CALL *input_count)(const struct CustomOp *);
    int(CALL *output_type)(const struct CustomOp *, size_t);
    size_t(CALL *output_count)(const struct CustomOp *);
    void(CALL *compute)(void *, void *);
    void(CALL *destroy)(void *);
    int(CALL *input_kind)(const struct CustomOp *, size_t);
    int(CALL *output_kind)(const struct CustomOp *, size_t);
    int(CALL *input_memory)(const struct CustomOp *, size_t);
    int(CALL *fewest_inputs)(const struct CustomOp *);
    int(CALL *inputs_alike)(const struct CustomOp *);
    int(CALL *fewest_outputs)(const struct CustomOp *);
    int(CALL *outputs_alike)(const struct CustomOp *);
    Status *(CALL *create_safely)(const struct CustomOp *, Api, const void *, void **);
    Status *(CALL *compute_safely)(void *, void *);
} CustomOp;

enum { FLOAT = 1, VARIADIC = 2, IN_DEFAULT_MEMORY = 0, FAILED = 1 };

static Status *failure(Api api, const char *why) {
    return AS(api, CREATE_STATUS, Status *, int, const char *)(FAILED, why);
}

/* ---- the machine ---- */

enum {
    MOVE, ADD, SUB, MUL, DIV, MIN, MAX, NEG, ABS, SIGN, FLOOR, ROUND, RELU, CLIP, HARD_SIGMOID,
    GREATER_OR_EQUAL, GREATER, LESS_OR_EQUAL, LESS, AND, NOT, TELL, OPERATIONS,
};

#define EACH(value) \
    for (int i = 0; i < n; ++i) d[i] = (value); \
    break

INLINE static void execute_for(const int64_t *program, size_t steps, float **reg, int n, const char *skipped) {
    for (size_t s = 0; s < steps; ++s, program += 5) {
        float *restrict d = reg[program[1]];
        const float *a = reg[program[2]], *b = reg[program[3]], *c = reg[program[4]];
        if (skipped[program[1]]) continue;
        switch (program[0]) {
        case MOVE: EACH(a[i]);
        case ADD: EACH(a[i] + b[i]);
        case SUB: EACH(a[i] - b[i]);
        case MUL: EACH(a[i] * b[i]);
        case DIV: EACH(a[i] / b[i]);
        case MIN: EACH(a[i] < b[i] ? a[i] : b[i]);
        case MAX: EACH(a[i] > b[i] ? a[i] : b[i]);
        case NEG: EACH(-a[i]);
        case ABS: EACH(fabsf(a[i]));
        case SIGN: EACH((float)(a[i] > 0) - (float)(a[i] < 0));
        case FLOOR: EACH(floorf(a[i]));
        case ROUND: EACH(nearbyintf(a[i]));
        case RELU: EACH(a[i] > 0 ? a[i] : 0);
        case CLIP:
            for (int i = 0; i < n; ++i) {
                float low = a[i] > b[i] ? a[i] : b[i];
                d[i] = low < c[i] ? low : c[i];
            }
            break;
        case HARD_SIGMOID:
            for (int i = 0; i < n; ++i) {
                float line = a[i] * b[i] + c[i];
                float high = line < 1 ? line : 1;
                d[i] = high > 0 ? high : 0;
            }
            break;
        case GREATER_OR_EQUAL: EACH((float)(a[i] >= b[i]));
        case GREATER: EACH((float)(a[i] > b[i]));
        case LESS_OR_EQUAL: EACH((float)(a[i] <= b[i]));
        case LESS: EACH((float)(a[i] < b[i]));
        case AND: EACH(a[i] * b[i]);
        case NOT: EACH(1 - a[i]);
        case TELL: /* a within -b and b, rounded to the first bits that c leaves, and to a whole number (Dekker 1971) */
            for (int i = 0; i < n; ++i) {
                float low = a[i] > -b[i] ? a[i] : -b[i];
                float x = low < b[i] ? low : b[i];
                float g = x * c[i];
                float rest = x - g;
                d[i] = nearbyintf(g + rest);
            }
            break;
        }
    }
}

/* A whole block has a length that the compiler knows. */
WIDEST static void execute(const int64_t *program, size_t steps, float **reg, int n, const char *skipped) {
    if (n == BLOCK) execute_for(program, steps, reg, BLOCK, skipped);
    else execute_for(program, steps, reg, n, skipped);
}

/* ---- shapes ---- */

typedef struct {
    int rank; /* -1: shapes that do not go together */
    int64_t size[MOST_RANK];
} Shape;

static int64_t elements(const Shape *shape) {
    int64_t all = 1;
    for (int i = 0; i < shape->rank; ++i) all *= shape->size[i];
    return all;
}

static Shape together(const Shape *a, const Shape *b) {
    Shape joined = a->rank >= b->rank ? *a : *b;
    const Shape *small = a->rank >= b->rank ? b : a;
    for (int i = 0; i < small->rank; ++i) {
        int64_t *size = &joined.size[joined.rank - small->rank + i];
        if (*size == 1) *size = small->size[i];
        else if (small->size[i] != 1 && small->size[i] != *size) return (Shape){-1, {0}};
    }
    return joined;
}

static int same(const Shape *a, const Shape *b) {
    return a->rank == b->rank && !memcmp(a->size, b->size, sizeof(int64_t) * (a->rank > 0 ? a->rank : 0));
}

/* Returns a shape with its channels in blocks, which are one axis more, the last one. */
static Shape in_blocks(Shape shape, int64_t block) {
    int64_t last = 1;
    if (shape.rank < 0 || shape.rank == MOST_RANK) return (Shape){-1, {0}};
    if (shape.rank >= 3 && shape.size[shape.rank - 3] != 1) {
        int64_t *channels = &shape.size[shape.rank - 3];
        if (*channels % block) return (Shape){-1, {0}};
        *channels /= block;
        last = block;
    }
    shape.size[shape.rank++] = last;
    return shape;
}

/* Returns a shape without blocks. */
static Shape out_of_blocks(Shape shape) {
    int64_t last = shape.size[--shape.rank];
    if (shape.rank >= 3) shape.size[shape.rank - 3] *= last;
    return shape;
}

/* How an input is read at position i of a shape: where it is not strided, q = i / width, its number
 * (q / inner) % count * width + i % width. */
typedef struct {
    const float *data;
    int64_t inner, count, width, of_step;
    int strided;
    int64_t stride[MOST_RANK];
} View;

static int is_scalar(const View *view) { return view->count == 1 && view->width == 1 && !view->strided; }

/* Finds how the axes of a shape that a view has lie among the first ones of it; returns whether there is no gap. */
static int axes_together(const Shape *whole, int axes, View *view) {
    int first = axes, last = -1, gap = 0;
    for (int i = 0; i < axes; ++i) {
        if (view->stride[i] == 0) continue;
        if (last < 0) first = i;
        last = i;
    }
    view->inner = view->count = 1;
    for (int i = last + 1; i < axes; ++i) view->inner *= whole->size[i];
    for (int i = first; i <= last; ++i) {
        view->count *= whole->size[i];
        if (whole->size[i] != 1 && view->stride[i] == 0) gap = 1;
    }
    return !gap;
}

/* Returns whether shape `own` can be read at all positions of shape `whole`; `turned`: it lies in memory without blocks. */
static int view_of(const Shape *own, const Shape *whole, int turned, View *view) {
    if (own->rank > whole->rank) return 0;
    int ahead = whole->rank - own->rank;
    int64_t step = 1, natural[MOST_RANK];
    for (int i = own->rank - 1; i >= 0; --i) {
        if (own->size[i] != 1 && own->size[i] != whole->size[i + ahead]) return 0;
        natural[i] = step;
        step *= own->size[i];
    }
    view->strided = 0;
    if (turned && own->rank >= 4 && own->size[own->rank - 1] > 1) {
        /* of axes C / block, H, W, block */
        int64_t *of = natural + own->rank - 4, height = own->size[own->rank - 3], row = own->size[own->rank - 2];
        of[3] = height * row, of[2] = 1, of[1] = row, of[0] = own->size[own->rank - 1] * height * row;
        view->strided = height * row > 1;
    }
    for (int i = 0; i < whole->rank; ++i) view->stride[i] = i < ahead || own->size[i - ahead] == 1 ? 0 : natural[i - ahead];
    view->width = 1;
    if (view->strided || axes_together(whole, whole->rank, view)) return 1;
    /* the last axis again and again, as channels in a block */
    view->width = whole->size[whole->rank - 1];
    if (view->stride[whole->rank - 1] && axes_together(whole, whole->rank - 1, view)) return 1;
    view->width = view->strided = 1;
    return 1;
}

static void read_strided(const View *view, const float *data, const Shape *whole, int64_t start, int n, float *to) {
    int64_t at[MOST_RANK], rest = start, place = 0;
    for (int axis = whole->rank - 1; axis >= 0; --axis) {
        at[axis] = rest % whole->size[axis];
        rest /= whole->size[axis];
        place += at[axis] * view->stride[axis];
    }
    for (int i = 0; i < n; ++i) {
        to[i] = data[place];
        for (int axis = whole->rank - 1; axis >= 0; --axis) {
            place += view->stride[axis];
            if (++at[axis] < whole->size[axis]) break;
            place -= view->stride[axis] * whole->size[axis];
            at[axis] = 0;
        }
    }
}

/* Writes numbers again and again, beginning at one of them. */
static void repeat(const float *numbers, int64_t width, int64_t phase, int n, float *to) {
    int made = width - phase < n ? (int)(width - phase) : n;
    memcpy(to, numbers + phase, sizeof(float) * made);
    int64_t rest = phase < n - made ? phase : n - made;
    memcpy(to + made, numbers, sizeof(float) * rest);
    made += (int)rest;
    /* what is there has a whole number of periods from now on */
    for (int more; made < n; made += more) {
        more = made < n - made ? made : n - made;
        memcpy(to + made, to, sizeof(float) * more);
    }
}

static void read_view(const View *view, const float *data, const Shape *whole, int64_t start, int n, float *to) {
    if (view->strided) {
        read_strided(view, data, whole, start, n, to);
        return;
    }
    if (is_scalar(view)) {
        for (int i = 0; i < n; ++i) to[i] = data[0];
        return;
    }
    int64_t width = view->width, phase = start % width, group = start / width;
    int64_t number = group / view->inner % view->count, left = (view->inner - group % view->inner) * width - phase;
    for (int i = 0; i < n;) {
        if (view->inner == 1 && width == 1) {
            int run = view->count - number < n - i ? (int)(view->count - number) : n - i;
            memcpy(to + i, data + number, sizeof(float) * run);
            i += run;
            number = 0;
            continue;
        }
        int run = left < n - i ? (int)left : n - i;
        if (width > 1) repeat(data + number * width, width, phase, run, to + i);
        else
            for (int j = 0; j < run; ++j) to[i + j] = data[number];
        i += run;
        left = view->inner * width;
        phase = 0;
        number = (number + 1) % view->count;
    }
}

/* ---- the operator ---- */

typedef struct {
    Api api;
    int64_t registers, timed, block, *program, *inputs, *outputs, *states, *turned;
    size_t turned_count, steps, input_count, output_count, state_count, constant_count;
    float *constants;
} Kernel;

typedef struct {
    const Kernel *kernel;
    Shape whole;
    int64_t count, part, time_steps;
    View view[MOST_ENDS];
    char read[MOST_ENDS];       /* input: whether it is read at all */
    char skipped[MOST_REGISTERS]; /* register: whether its shape is another one's */
    char swapped[MOST_ENDS];    /* state: whether its register and that of its next value change places */
    float *made[MOST_ENDS];     /* output: where it goes, or NULL */
} Work;

/* Asks for the memory of a time-step's inputs and outputs, which lies far from that of the step before. */
static void fetch(const Work *work, int64_t at, int64_t t, int n) {
    const Kernel *k = work->kernel;
    for (size_t p = 0; p < k->input_count; ++p) {
        const View *view = &work->view[p];
        if (!work->read[p] || k->inputs[p] != 1 || view->strided || view->count != work->count) continue;
        for (int i = 0; i < n; i += LINE) FETCH(view->data + t * view->of_step + at + i, 0);
    }
    for (size_t o = 0; o < k->output_count; ++o) {
        if (!work->made[o] || k->outputs[2 * o + 1]) continue;
        for (int i = 0; i < n; i += LINE) FETCH(work->made[o] + t * work->count + at + i, 1);
    }
}

static void work_on(void *given, size_t number) {
    const Work *work = given;
    const Kernel *k = work->kernel;
    ALIGNED float buffers[MOST_REGISTERS][BLOCK];
    float *reg[MOST_REGISTERS];
    int64_t start = (int64_t)number * work->part, end = start + work->part;
    if (end > work->count) end = work->count;
    for (int64_t r = 0; r < k->registers; ++r) reg[r] = buffers[r];
    for (size_t c = 0; c < k->constant_count; ++c)
        for (int i = 0; i < BLOCK; ++i) buffers[k->input_count + c][i] = k->constants[c];
    for (size_t p = 0; p < k->input_count; ++p)
        if (work->read[p] && is_scalar(&work->view[p]) && k->inputs[p] == 0)
            for (int i = 0; i < BLOCK; ++i) buffers[p][i] = work->view[p].data[0];
    for (int64_t at = start; at < end; at += BLOCK) {
        int n = end - at < BLOCK ? (int)(end - at) : BLOCK;
        for (int64_t t = 0; t < work->time_steps; ++t) {
            for (size_t p = 0; p < k->input_count; ++p) {
                const View *view = &work->view[p];
                if (!work->read[p] || (t && k->inputs[p] != 1)) continue;
                const float *data = view->data + (k->inputs[p] == 1 ? t * view->of_step : 0);
                if (view->count == work->count && !view->strided && k->inputs[p] != 2) reg[p] = (float *)data + at;
                else if (!is_scalar(view) || k->inputs[p] != 0)
                    read_view(view, data, &work->whole, at, n, k->inputs[p] == 2 ? reg[p] : buffers[p]);
            }
            for (size_t o = 0; o < k->output_count; ++o)
                if (work->made[o] && !k->outputs[2 * o + 1] && k->outputs[2 * o] >= (int64_t)(k->input_count + k->constant_count))
                    reg[k->outputs[2 * o]] = work->made[o] + t * work->count + at;
            if (t + 1 < work->time_steps) fetch(work, at, t + 1, n);
            execute(k->program, k->steps, reg, n, work->skipped);
            for (size_t o = 0; o < k->output_count; ++o) {
                if (!work->made[o]) continue;
                float *from = reg[k->outputs[2 * o]];
                float *to = work->made[o] + at + (k->outputs[2 * o + 1] ? 0 : t * work->count);
                if (from != to && (!k->outputs[2 * o + 1] || t == work->time_steps - 1)) memcpy(to, from, sizeof(float) * n);
            }
            for (size_t s = 0; s < k->state_count; ++s) {
                float **now = &reg[k->states[2 * s]], **next = &reg[k->states[2 * s + 1]];
                if (work->swapped[s]) {
                    float *before = *now;
                    *now = *next;
                    *next = before;
                } else memcpy(*now, *next, sizeof(float) * n);
            }
        }
    }
}

/* Returns whether nobody but one state takes the register of its next value, which then lies in a buffer. */
static int can_swap(const Work *work, size_t state) {
    const Kernel *k = work->kernel;
    int64_t next = k->states[2 * state + 1];
    if (next < (int64_t)(k->input_count + k->constant_count) || work->skipped[next]) return 0;
    for (size_t s = 0; s < k->state_count; ++s)
        if (s != state && k->states[2 * s + 1] == next) return 0;
    for (size_t o = 0; o < k->output_count; ++o)
        if (work->made[o] && k->outputs[2 * o] == next && !k->outputs[2 * o + 1]) return 0;
    return 1;
}

static const float *data_of(Api api, const void *value, Shape *shape) {
    void *info = NULL, *data = NULL;
    size_t rank = 0;
    AS(api, TENSOR_SHAPE, Status *, const void *, void **)(value, &info);
    AS(api, DIMENSIONS_COUNT, Status *, const void *, size_t *)(info, &rank);
    shape->rank = rank > MOST_RANK ? -1 : (int)rank;
    if (shape->rank > 0) AS(api, DIMENSIONS, Status *, const void *, int64_t *, size_t)(info, shape->size, rank);
    AS(api, RELEASE_SHAPE, void, void *)(info);
    AS(api, TENSOR_DATA, Status *, void *, void **)((void *)value, &data);
    return data;
}

static Status *CALL compute(void *given, void *context) {
    const Kernel *k = given;
    Api api = k->api;
    Shape shape[MOST_REGISTERS], of_input[MOST_ENDS];
    const float *data[MOST_ENDS];
    int64_t time_steps = 1;
    for (int64_t r = 0; r < k->registers; ++r) shape[r] = (Shape){0, {0}};
    for (size_t p = 0; p < k->input_count + (k->timed ? 1 : 0); ++p) {
        const void *value = NULL;
        Shape found;
        AS(api, INPUT, Status *, const void *, size_t, const void **)(context, p, &value);
        const float *numbers = data_of(api, value, &found);
        if (found.rank < 0) return failure(api, "Chain: an input has more than 8 axes");
        if (p == k->input_count) {
            time_steps = elements(&found);
            break;
        }
        data[p] = numbers;
        if (k->inputs[p] == 1) {
            found.rank -= 1;
            memmove(found.size, found.size + 1, sizeof(int64_t) * (found.rank > 0 ? found.rank : 0));
        }
        if (k->block) found = in_blocks(found, k->block);
        if (found.rank < 0) return failure(api, "BlockedChain: an input has more than 7 axes, or channels that are no whole blocks");
        of_input[p] = shape[p] = found;
    }
    /* a state has the shape of its next value, which may be wider than the first one, and widen others */
    for (int wider = 1; wider;) {
        wider = 0;
        for (size_t s = 0; s < k->steps; ++s) {
            const int64_t *p = k->program + 5 * s;
            Shape joined = together(&shape[p[2]], &shape[p[3]]);
            if (joined.rank >= 0) joined = together(&joined, &shape[p[4]]);
            if (joined.rank < 0) return failure(api, "Chain: shapes do not go together");
            shape[p[1]] = joined;
        }
        for (size_t s = 0; s < k->state_count; ++s) {
            const int64_t *pair = k->states + 2 * s;
            Shape joined = together(&shape[pair[0]], &shape[pair[1]]);
            if (joined.rank < 0) return failure(api, "Chain: a state changes its shape");
            wider |= !same(&joined, &shape[pair[0]]);
            shape[pair[0]] = shape[pair[1]] = joined;
        }
    }
    float *made[MOST_ENDS];
    for (size_t o = 0; o < k->output_count; ++o) {
        void *value = NULL, *to = NULL;
        Shape full = shape[k->outputs[2 * o]];
        if (k->block && full.rank > 0) full = out_of_blocks(full);
        if (k->timed && !k->outputs[2 * o + 1]) {
            if (full.rank == MOST_RANK) return failure(api, "Chain: an output has more than 8 axes");
            memmove(full.size + 1, full.size, sizeof(int64_t) * full.rank);
            full.size[0] = time_steps;
            full.rank += 1;
        }
        Status *failed = AS(api, OUTPUT, Status *, void *, size_t, const int64_t *, size_t, void **)(
            context, o, full.size, (size_t)full.rank, &value);
        if (failed) return failed;
        AS(api, TENSOR_DATA, Status *, void *, void **)(value, &to);
        made[o] = to;
    }
    char done[MOST_ENDS] = {0};
    for (size_t o = 0; o < k->output_count; ++o) {
        if (done[o]) continue;
        Work work = {.kernel = k, .whole = shape[k->outputs[2 * o]], .time_steps = time_steps};
        work.count = elements(&work.whole);
        for (size_t other = o; other < k->output_count; ++other) {
            int alike = same(&shape[k->outputs[2 * other]], &work.whole);
            work.made[other] = alike ? made[other] : NULL;
            done[other] |= alike;
        }
        for (int64_t r = 0; r < k->registers; ++r) {
            View unused;
            work.skipped[r] = !view_of(&shape[r], &work.whole, 0, &unused);
        }
        for (size_t p = 0; p < k->input_count; ++p) {
            work.view[p] = (View){.data = data[p]};
            work.read[p] = view_of(&of_input[p], &work.whole, k->block && k->turned[p], &work.view[p]);
            work.view[p].of_step = elements(&of_input[p]);
        }
        for (size_t s = 0; s < k->state_count; ++s) work.swapped[s] = (char)can_swap(&work, s);
        if (!work.count || !time_steps) continue;
        size_t parts = (size_t)((work.count * time_steps + GRAIN - 1) / GRAIN);
        int64_t blocks = (work.count + BLOCK - 1) / BLOCK;
        if ((int64_t)parts > blocks) parts = (size_t)blocks;
        work.part = (blocks + (int64_t)parts - 1) / (int64_t)parts * BLOCK;
        if (parts == 1) {
            work_on(&work, 0);
            continue;
        }
        Status *failed = AS(api, PARALLEL_FOR, Status *, const void *, void (*)(void *, size_t), size_t, size_t, void *)(
            context, work_on, parts, 0, &work);
        if (failed) return failed;
    }
    return NULL;
}

static int64_t *integers(Api api, const void *info, const char *name, size_t *count) {
    AS(api, ATTRIBUTE_INTS, Status *, const void *, const char *, int64_t *, size_t *)(info, name, NULL, count);
    int64_t *numbers = calloc(*count + 1, sizeof(int64_t));
    if (numbers && *count)
        AS(api, ATTRIBUTE_INTS, Status *, const void *, const char *, int64_t *, size_t *)(info, name, numbers, count);
    return numbers;
}

/* Returns what is wrong with a program, or NULL: a register or operation that there is not. */
static const char *fault(const Kernel *k) {
    int64_t most = k->registers;
    if (most < 1 || most > MOST_REGISTERS) return "Chain: registers are at most 128";
    if (k->input_count > MOST_ENDS || k->output_count > MOST_ENDS) return "Chain: inputs and outputs are at most 64";
    if (k->turned && (k->block < 2 || k->turned_count != k->input_count)) return "BlockedChain: a block, and a number for each input";
    if (k->input_count + k->constant_count > (size_t)most) return "Chain: fewer registers than inputs and constants";
    for (size_t i = 0; i < 5 * k->steps; ++i) {
        int64_t bound = i % 5 ? most : OPERATIONS;
        int64_t lowest = i % 5 == 1 ? (int64_t)(k->input_count + k->constant_count) : 0;
        if (k->program[i] < lowest || k->program[i] >= bound) return "Chain: a step has a register or operation that there is not";
    }
    for (size_t i = 0; i < 2 * k->output_count; i += 2)
        if (k->outputs[i] < 0 || k->outputs[i] >= most) return "Chain: an output has a register that there is not";
    for (size_t i = 0; i < 2 * k->state_count; ++i) {
        int64_t bound = i % 2 ? most : (int64_t)k->input_count;
        if (k->states[i] < 0 || k->states[i] >= bound) return "Chain: a state has a register that there is not";
    }
    return NULL;
}

static void CALL destroy(void *given) {
    Kernel *k = given;
    free(k->program), free(k->inputs), free(k->outputs), free(k->states), free(k->turned), free(k->constants), free(k);
}

static const char *CALL blocked_name(const CustomOp *op) { return "BlockedChain"; }

static Status *CALL create(const CustomOp *op, Api api, const void *info, void **made) {
    Kernel *k = calloc(1, sizeof(Kernel));
    if (!k) return failure(api, "Chain: no memory");
    int blocked = op->name == blocked_name, whole = 1;
    if (blocked) {
        AS(api, ATTRIBUTE_INT, Status *, const void *, const char *, int64_t *)(info, "block", &k->block);
        k->turned = integers(api, info, "turned", &k->turned_count);
        whole = k->turned != NULL;
    }
    k->api = api;
    AS(api, ATTRIBUTE_INT, Status *, const void *, const char *, int64_t *)(info, "registers", &k->registers);
    AS(api, ATTRIBUTE_INT, Status *, const void *, const char *, int64_t *)(info, "timed", &k->timed);
    k->program = integers(api, info, "program", &k->steps);
    k->steps /= 5;
    k->inputs = integers(api, info, "input_kinds", &k->input_count);
    k->outputs = integers(api, info, "results", &k->output_count);
    k->output_count /= 2;
    k->states = integers(api, info, "states", &k->state_count);
    k->state_count /= 2;
    AS(api, ATTRIBUTE_FLOATS, Status *, const void *, const char *, float *, size_t *)(info, "constants", NULL, &k->constant_count);
    k->constants = calloc(k->constant_count + 1, sizeof(float));
    if (!whole || !k->program || !k->inputs || !k->outputs || !k->states || !k->constants) {
        destroy(k);
        return failure(api, "Chain: no memory");
    }
    if (k->constant_count)
        AS(api, ATTRIBUTE_FLOATS, Status *, const void *, const char *, float *, size_t *)(info, "constants", k->constants, &k->constant_count);
    const char *wrong = fault(k);
    if (wrong) {
        destroy(k);
        return failure(api, wrong);
    }
    *made = k;
    return NULL;
}

static const char *CALL name(const CustomOp *op) { return "Chain"; }
static const char *CALL provider(const CustomOp *op) { return NULL; }
static int CALL type(const CustomOp *op, size_t i) { return FLOAT; }
static size_t CALL one(const CustomOp *op) { return 1; }
static int CALL at_least_one(const CustomOp *op) { return 1; }
static int CALL variadic(const CustomOp *op, size_t i) { return VARIADIC; }
static int CALL memory(const CustomOp *op, size_t i) { return IN_DEFAULT_MEMORY; }

#define OPERATOR(its_name) { \
    .version = 16, .name = its_name, .provider = provider, \
    .input_type = type, .input_count = one, .output_type = type, .output_count = one, \
    .destroy = destroy, .input_kind = variadic, .output_kind = variadic, .input_memory = memory, \
    .fewest_inputs = at_least_one, .inputs_alike = at_least_one, \
    .fewest_outputs = at_least_one, .outputs_alike = at_least_one, \
    .create_safely = create, .compute_safely = compute, \
}

static const CustomOp CHAIN = OPERATOR(name), BLOCKED = OPERATOR(blocked_name);

EXPORT Status *CALL RegisterCustomOps(void *options, const ApiBase *base) {
    Api api = base->get_api(API);
    void *domain = NULL;
    if (!api) return NULL; /* too old: the operator is missing, which onnxruntime says */
    /* lives as long as the process: sessions refer to it */
    Status *failed = AS(api, CREATE_DOMAIN, Status *, const char *, void **)("onnx2snn.kernels", &domain);
    if (!failed) failed = AS(api, DOMAIN_ADD, Status *, void *, const CustomOp *)(domain, &CHAIN);
    if (!failed) failed = AS(api, DOMAIN_ADD, Status *, void *, const CustomOp *)(domain, &BLOCKED);
    if (!failed) failed = AS(api, ADD_DOMAIN, Status *, void *, void *)(options, domain);
    return failed;
}
