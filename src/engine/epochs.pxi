# Many epochs of batches without Python between them: the order of each epoch, its loss, the score
# of held-out samples and the decision to go on. Called by python/epochs.pxi. The rules are those of
# nncore/sklearn/_loop.py, or with `samples` those of nncore/training/fit.py, which run one epoch at
# a time.

cdef enum:
    # HeldOut.kind
    SCORE_NONE
    SCORE_CLASSES          # the share of samples whose largest output is that of their class
    SCORE_LABELS           # the share of samples all of whose outputs are on the right side
    SCORE_R2


cdef struct HeldOut:
    # samples that are scored after each epoch
    int kind
    Source x
    Py_ssize_t n
    const int64_t *codes   # SCORE_CLASSES: (n)
    const char *labels     # SCORE_LABELS: (n, outputs)
    double threshold       # SCORE_LABELS
    const double *targets  # SCORE_R2: (n, outputs)
    const double *spreads  # SCORE_R2: the sum of squares about the mean of each output
    bint exponential       # SCORE_R2: predictions are e^output
    const double *weights  # of the samples, or NULL
    char *outputs          # (n, outputs)
    View *best             # W and W0 of each layer with the best score


cdef struct Course:
    # a training over many epochs
    int64_t *order         # of the samples, shuffled in place
    const int64_t *samples  # what each epoch shuffles anew, or NULL: the order of the last one
    Py_ssize_t n, batch_size, steps
    bitgen_t *generator    # NULL: every epoch has the same order
    double *rates          # one per step
    const double *etas     # one per epoch
    double *losses         # per epoch: the mean
    double *scores
    double best            # loss, or score of the held-out samples
    double tol, patience   # stop after more than `patience` epochs without improvement
    double bad             # epochs without improvement
    bint single            # losses are float32, and compared as such
    bint improved          # `best` of a held-out score has changed in this run
    bint guarded           # end at the first loss or weight that is not finite
    bint failed            # there was one
    HeldOut held_out


cdef Py_ssize_t run_course(Engine *e, Course *c, Py_ssize_t most) noexcept nogil:
    """Run up to `most` epochs, until one too many brings no improvement or CHUNK_SECONDS have
    passed. Returns their number."""
    cdef Py_ssize_t done = 0
    cdef double started = now()
    c.improved = c.failed = False
    while done < most:
        run_epoch(e, c, done)
        if c.failed:
            break
        if c.held_out.kind == SCORE_NONE:
            compare_loss(c, c.losses[done])
        else:
            c.scores[done] = held_out_score(e, &c.held_out)
            compare_score(e, c, c.scores[done])
        done += 1
        if c.bad > c.patience or now() - started > CHUNK_SECONDS:
            break
    return done


cdef void run_epoch(Engine *e, Course *c, Py_ssize_t epoch) noexcept nogil:
    """All batches of an epoch, in a new order; its mean loss."""
    cdef Run *run = &e.run
    cdef Py_ssize_t i, bad
    if c.samples != NULL:
        memcpy(c.order, c.samples, c.n * sizeof(int64_t))
    if c.generator != NULL:
        shuffle(c.generator, c.order, c.n)
    for i in range(c.steps if c.rates[0] != c.etas[epoch] or epoch == 0 else 0):
        c.rates[i] = c.etas[epoch]
    run.total = nn_total(0, 0)
    run.status, run.offset = FINITE, 0
    e.objective.skipped = 0
    e.sparse.skips_zeros = skips_zeros(e, e.plan.in_place)
    bad = STEPPERS[e.plan.stepper].run(e, run)
    c.failed = c.guarded and (bad != 0 or not weights_finite(&e.net))
    e.opt.updates += c.steps - e.objective.skipped
    run.steps_before += c.steps
    c.losses[epoch] = nn_value(&run.total) / c.n
    if c.single:
        c.losses[epoch] = <float>c.losses[epoch]


cdef void compare_loss(Course *c, double loss) noexcept nogil:
    """Count an epoch without improvement; NaN starts the count again."""
    cdef double limit = c.best - c.tol
    if c.single:
        limit = <float>(<float>c.best - <float>c.tol)
    c.bad = c.bad + 1 if loss > limit else 0
    if loss < c.best:
        c.best = loss


cdef void compare_score(Engine *e, Course *c, double score) noexcept nogil:
    """The same for a score, keeping the best weights."""
    cdef Py_ssize_t i
    c.bad = c.bad + 1 if score < c.best + c.tol else 0
    if score > c.best:
        c.best, c.improved = score, True
        for i in range(e.net.n_layers):
            copy_params(e, i, c.held_out.best[2 * i], c.held_out.best[2 * i + 1])


# ------------------------------------------------------------------------------------------- scores

cdef double held_out_score(Engine *e, HeldOut *h) noexcept nogil:
    """The score of the held-out samples with the present weights."""
    cdef Prediction p
    cdef Source trained = e.x
    cdef Py_ssize_t block = min(<Py_ssize_t>PREDICT_BLOCK, e.ws.capacity), first = 0
    e.x = h.x  # a CSR Source is read from there
    p.e, p.x, p.y, p.outputs, p.losses = e, &e.x, NULL, h.outputs, NULL
    while first < h.n:
        p.first, p.n_samples = first, min(first + block, h.n)
        predict_block(&p, 0, 1, 0)
        first += block
    e.x = trained
    if h.kind == SCORE_R2:
        return r2_score(e, h)
    return accuracy(e, h)


cdef inline double output_at(const Engine *e, const HeldOut *h, Py_ssize_t i) noexcept nogil:
    if e.net.type_number == cnp.NPY_DOUBLE:
        return (<const double *>h.outputs)[i]
    return (<const float *>h.outputs)[i]


cdef double accuracy(const Engine *e, const HeldOut *h) noexcept nogil:
    """The weighted share of samples whose class, or whose every label, is right; NaN if the weights
    sum to 0."""
    cdef Py_ssize_t i
    cdef double weight
    cdef nn_total right = nn_total(0, 0), total = nn_total(0, 0)
    for i in range(h.n):
        weight = 1 if h.weights == NULL else h.weights[i]
        nn_add(&total, weight)
        if (is_class_right(e, h, i) if h.kind == SCORE_CLASSES else are_labels_right(e, h, i)):
            nn_add(&right, weight)
    return nn_value(&right) / nn_value(&total) if nn_value(&total) != 0 else NAN


cdef bint is_class_right(const Engine *e, const HeldOut *h, Py_ssize_t i) noexcept nogil:
    """True if the first of the largest outputs, or the first NaN, is that of the class."""
    cdef Py_ssize_t j, best = 0, n = e.net.outputs
    cdef double value, largest = output_at(e, h, i * n)
    for j in range(1, n):
        value = output_at(e, h, i * n + j)
        if largest != largest:
            break
        if not value <= largest:
            best, largest = j, value
    return best == h.codes[i]


cdef bint are_labels_right(const Engine *e, const HeldOut *h, Py_ssize_t i) noexcept nogil:
    cdef Py_ssize_t j, n = e.net.outputs
    for j in range(i * n, i * n + n):
        if (output_at(e, h, j) > h.threshold) != (h.labels[j] != 0):
            return False
    return True


cdef double r2_score(const Engine *e, const HeldOut *h) noexcept nogil:
    """The mean R² of the outputs; NaN if an output is non-finite."""
    cdef Py_ssize_t i, j, n = e.net.outputs
    cdef double value, error, total = 0
    cdef nn_total errors
    for j in range(n):
        errors = nn_total(0, 0)
        for i in range(h.n):
            value = output_at(e, h, i * n + j)
            if h.exponential:
                value = exp(value)
            if not isfinite(value):
                return NAN
            error = h.targets[i * n + j] - value
            nn_add(&errors, error * error * (1 if h.weights == NULL else h.weights[i]))
        if h.spreads[j] != 0:
            total += 1 - nn_value(&errors) / h.spreads[j]
        elif nn_value(&errors) == 0:
            total += 1
    return total / n
