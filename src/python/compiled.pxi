# A network of library modules, compiled: Compiled owns an engine and refers to the user's objects;
# everything that runs without Python is in engine/. Program (program.pxi) adds training.

# The lists of kernels/kernels.h: {name: number}.
LOSSES = {None: NN_NO_LOSS}
for _number in range(NN_NLL, NN_ALL_LOSS_KINDS):
    LOSSES[nn_loss_name(_number).decode()] = _number
ACTIVATIONS = {}
for _number in range(NN_ACTIVATION_KINDS):
    ACTIVATIONS[nn_activation_name(_number).decode()] = _number


PROGRAM_RULES = {
    **RULES, "velocity": NN_VELOCITY, "nesterov_velocity": NN_NESTEROV_VELOCITY,
    "gradient": NN_MOMENTUM,  # for the layout of its state; see Program.gradient
}
SPECIAL_KINDS = {"batchnorm": BATCHNORM, "dropout": DROPOUT}  # the layers of engine/special.pxi


cdef bint has_fixed_bias(module) except -1:
    """True for a Linear whose W0 is not trained."""
    return getattr(module, "bias", True) is False


cdef nn_activation activation_named(name):
    """An activation by its name, or by (name, slope)."""
    kind, slope = (name, 0) if isinstance(name, str) else name
    return nn_activation(ACTIVATIONS[kind], slope)


cdef class Compiled:
    """A Sequential of library modules, compiled for prediction. Created by the Python package,
    which has validated the arguments.

    stages: [(Linear or None, activation's name)], or (BatchNorm, "batchnorm"), (Dropout,
    "dropout"); loss: a name, or None for prediction alone; plain: NLL's gradient is a − y for any
    sum of a sample's labels; parameter: of the loss; smoothing, class_weight: of the labels.
    """

    cdef Engine e
    cdef Parameters parameters
    cdef Samples samples
    cdef cnp.ndarray class_weight   # float64, or None
    cdef list dropouts              # (layer, Dropout)
    cdef bint frozen
    cdef public bint live           # predicts with the weights where they are, in short calls
    cdef bint holds_gil             # in such a call

    def __cinit__(self, list stages, loss, dtype, inputs, plain=False, double parameter=0,
                  double smoothing=0, class_weight=None):
        cdef Engine *e = &self.e
        cdef Py_ssize_t bytes_ = len(stages) * sizeof(Layer)
        e.net.type_number = cnp.NPY_FLOAT if np.dtype(dtype) == np.float32 else cnp.NPY_DOUBLE
        e.net.k = kernels_for(e.net.type_number)
        e.net.itemsize, e.net.inputs = e.net.k.itemsize, inputs
        e.net.loss, e.net.trains, e.net.plain_nll = LOSSES[loss], loss is not None, plain
        e.net.layers = <Layer *>calloc(max(len(stages), 1), sizeof(Layer))
        if e.net.layers == NULL:
            raise MemoryError(f"to run this network takes {bytes_} bytes, which are not available")
        e.ws.n_threads, e.lookahead.step = 1, -1
        e.objective.loss_factor = e.objective.gradient_factor = 1
        e.objective.loss_parameter = parameter
        e.net.x_stride = padded_stride(&e.net, inputs)
        self.samples, self.dropouts = Samples(e.net.type_number), []
        self.parameters = Parameters()
        self.parameters.e = e
        e.fused.refusal = self._fused_refusal(stages)
        self._add_layers(stages)
        self._set_labels(smoothing, class_weight)
        arena_fill(e, layout_weights, &e.ws.weights_buffer)
        if e.fused.refusal == ACCEPTED:
            make_fused(e)

    def __dealloc__(self):
        free(self.e.net.layers)
        free(self.e.fused.layers)
        buffer_release(self.e.fused.buffer)
        buffer_release(self.e.ws.weights_buffer)
        buffer_release(self.e.ws.panels_buffer)
        buffer_release(self.e.ws.batch_buffer)
        buffer_release(self.e.ws.state_buffer)

    cdef int _fused_refusal(self, list stages) except -1:
        """The reason against the fused kernels, or ACCEPTED, after choosing their vector width."""
        cdef Py_ssize_t widest = 0, outputs = 0, first_weights = 0
        for module, name in stages:
            if module is None or name in SPECIAL_KINDS:
                return INNER_LAYERS
            if has_fixed_bias(module):
                return FIXED_BIAS
            outputs += name in ("softmax", "output_sigmoid")
            widest = max(widest, module.W.shape[1])
            first_weights = first_weights or module.W.size
        if not self.e.net.trains:
            return OTHER_CALL
        # the output unit is the last one: SoftMax, OutputSigmoid or, for other losses, none
        if outputs != (self.e.net.loss == NN_NLL or self.e.net.loss == NN_BINARY_NLL):
            return INNER_LAYERS
        return choose_fused(&self.e, widest, first_weights)

    cdef int _add_layers(self, list stages) except -1:
        """Append a layer per stage and record the modules with weights."""
        cdef Engine *e = &self.e
        cdef Py_ssize_t width = e.net.inputs
        for i, (module, name) in enumerate(stages):
            if name in SPECIAL_KINDS:
                add_layer(e, SPECIAL_KINDS[name], no_activation(), width, width)
                if name == "dropout":
                    self.dropouts.append((i, module))
                elif name == "batchnorm":
                    self._set_norm(i, module)
            elif module is None:
                add_layer(e, ACTIVATION, activation_named(name), width, width)
            else:
                if module.W.shape[0] != width:
                    raise ValueError(f"W must have shape ({width}, n) to follow a module with "
                                     f"{width} outputs, got {module.W.shape}")
                add_layer(e, LINEAR, activation_named(name), width, module.W.shape[1])
                e.net.layers[e.net.n_layers - 1].fixed_bias = has_fixed_bias(module)
                self.parameters.owners.append((i, module, "W", "W0"))
            width = e.net.outputs
        return 0

    cdef int _set_labels(self, double smoothing, class_weight) except -1:
        """Adjust the labels of NLL before they are used."""
        cdef LabelRule *labels = &self.e.labels
        labels.smoothing, labels.weights = smoothing, NULL
        if class_weight is not None:
            self.class_weight = np.array(class_weight, np.float64, order="C")
            if cnp.PyArray_SIZE(self.class_weight) != self.e.net.outputs:
                raise ValueError(f"class_weight must hold one weight per class, "
                                 f"{self.e.net.outputs}, got {len(self.class_weight)}")
            labels.weights = <const double *>cnp.PyArray_DATA(self.class_weight)
        labels.adjusted = smoothing != 0 or labels.weights != NULL
        return 0

    cdef int _set_norm(self, Py_ssize_t i, module) except -1:
        """Copy the settings of a BatchNorm to layer i."""
        cdef NormState *norm = &self.e.net.layers[i].norm
        norm.eps, norm.momentum = module.eps, module.momentum
        norm.running = module.statistics == "running"
        self.parameters.owners.append((i, module, "G", "B"))
        if norm.running:
            self.parameters.norms.append((i, module))
        return 0

    def use(self, str rule, dict parameters, list states, double l2, double clip_value=INFINITY,
            double clip_norm=INFINITY):
        """Train by another rule than plain SGD, with its parameters by name.

        states: ((arrays of W's state), (arrays of W0's state)) of each module with weights,
        C-contiguous, of the network's type; l2: the penalty's factor; clip_value: bounds every
        entry of the gradient; clip_norm: bounds the norm of all gradients.
        """
        self.parameters.states = states
        set_optimizer(&self.e, PROGRAM_RULES[rule],
                      parameters.get("beta1", 0), parameters.get("beta2", 0),
                      parameters.get("eps", 0), l2, parameters.get("weight_decay", 0),
                      len(states[0][0]), clip_value, clip_norm)

    def set_objective(self, double loss_factor=1, double gradient_factor=1,
                      double loss_parameter=0, bint clips=False, double l2_per_weight=-1,
                      bint plain_root=False, bint continues=False, bint short_calls=False):
        """Train by fit with other conventions than nncore's, as scikit-learn's estimators do; after
        `use`.

        loss_factor, gradient_factor: of the loss's value and gradient; loss_parameter: of Huber or
        quantile; clips: NLL's value takes probabilities in [eps, 1 - eps]; l2_per_weight: a
        penalty's factor that is divided by the batch's weight, from 0; plain_root: Adam adds eps to
        the root of the uncorrected second moment; continues: non-finite values do not end fit;
        short_calls: calls on a few samples use the weights where they are.
        """
        cdef Objective *objective = &self.e.objective
        objective.differs = True
        objective.loss_factor, objective.gradient_factor = loss_factor, gradient_factor
        objective.loss_parameter, objective.clips = loss_parameter, clips
        objective.l2_per_weight, objective.l2 = l2_per_weight >= 0, l2_per_weight
        objective.plain_root, objective.continues = plain_root, continues
        objective.short_calls, objective.weighted_mean = short_calls, True

    # ----------------------------------------------------------------------------------- prediction

    def freeze(self):
        """Read the weights now, for all later runs."""
        self.e.plan.in_place, self.e.plan.transposes = False, TRANSPOSE_NONE
        self.parameters.load(False)
        if self._wants_panels():
            arena_fill(&self.e, layout_panels, &self.e.ws.panels_buffer)
            with nogil:
                pack_panels(&self.e)
        self.frozen = True

    cdef bint _wants_panels(self):
        for i in range(self.e.net.n_layers):
            if wants_panels(&self.e.net, &self.e.net.layers[i]):
                return True
        return False

    def run(self, X, Y=None):
        """(P, losses): the outputs (n, N), Fortran-ordered, and, given Y, the loss of each sample
        from its logits, (N,) float64, else None."""
        cdef Engine *e = &self.e
        cdef Py_ssize_t n = X.shape[1], blocks
        cdef cnp.ndarray P = new_matrix(e.net.outputs, n, e.net.type_number, True)
        cdef cnp.ndarray losses = None
        cdef Prediction p
        self._plan_prediction(X, Y is not None)
        p.e, p.x, p.y, p.first, p.n_samples = e, &e.x, NULL, 0, n
        p.outputs, p.losses = <char *>cnp.PyArray_DATA(P), NULL
        if Y is not None:
            losses = np.empty(n, np.float64)
            e.y = self.samples.source("Y", Y, 0)
            p.y, p.losses = &e.y, <double *>cnp.PyArray_DATA(losses)
        if not self.frozen:
            self.parameters.load(False)
        if e.plan.csr:
            with nogil:
                e.sparse.skips_zeros = skips_zeros(e, False)
        while p.first < n:
            blocks = min((n - p.first + PREDICT_BLOCK - 1) // PREDICT_BLOCK, 8 * e.plan.n_threads)
            if self.holds_gil:
                nn_pool_pieces(blocks, e.plan.n_threads, predict_block, &p)
            else:
                with nogil:
                    nn_pool_pieces(blocks, e.plan.n_threads, predict_block, &p)
            p.first += blocks * PREDICT_BLOCK
            PyErr_CheckSignals()
        return P, losses

    def outputs_of_plain(self, X, list arrays, tuple lists):
        """The outputs (N, n) of an array X (N, D) that is_plain accepts, with samples as rows, if
        the network's arrays `arrays` are still those of the lists (see are_chained); else None."""
        cdef cnp.ndarray x, outputs
        if not (is_plain(X, self.e.net.inputs) and are_chained(arrays, lists)):
            return None
        x = <cnp.ndarray>X
        if cnp.PyArray_TYPE(x) != self.e.net.type_number:
            return None
        outputs = <cnp.ndarray>self.run(cnp.PyArray_Transpose(x, NULL))[0]
        return cnp.PyArray_Transpose(outputs, NULL)

    cdef int _plan_prediction(self, X, bint labelled) except -1:
        cdef Engine *e = &self.e
        self.samples.clear()
        e.x = self.samples.source("X", X, 0)
        e.call.kind, e.call.python_rate, e.call.indices = CALL_PREDICT, False, NULL
        e.call.labelled = labelled
        e.call.n_samples = e.call.n_columns = e.call.batch_size = X.shape[1]
        plan_call(e)
        self.holds_gil = (self.live and e.net.n_weights * <Py_ssize_t>X.shape[1] <= GIL_PREDICTION)
        e.plan.in_place = (e.plan.in_place or self.holds_gil) and not self.frozen
        e.call.live = self.holds_gil
        return 0

    # -------------------------------------------------------------------------------------- queries

    @property
    def last_plan(self):
        """The plan of the last call, as a dict: path, reasons, threads, parameters, inputs, level,
        dtype."""
        cdef Engine *e = &self.e
        cdef Plan *plan = &e.plan
        cdef list reasons = []
        for i in range(plan.n_reasons):
            reasons.append(REASONS[plan.reasons[i]])
        inputs = "dense"
        if e.x.row_starts != NULL:
            inputs = "sparse"
        elif plan.csr and plan.stepper != FUSED_MINIBATCH:
            inputs = "csr"
        elif plan.nonzeros:
            inputs = "non-zeros"
        return {
            "path": STEPPERS[plan.stepper].name.decode(),
            "reasons": reasons,
            "threads": plan.n_threads,
            "parameters": self._parameters_are(),
            "inputs": inputs,
            "level": e.net.k.level.decode(),
            "dtype": np.dtype(dtype_of(e.net.type_number)).name,
        }

    cdef str _parameters_are(self):
        """Where the weights are that the last call has used."""
        if self.e.plan.in_place:
            return "in place"
        return "packed" if self.e.ws.panels_buffer.memory == NULL else "panels"

    @property
    def nbytes(self):
        """Bytes of the engine's buffers."""
        cdef Workspace *ws = &self.e.ws
        return (ws.weights_buffer.bytes + ws.panels_buffer.bytes + ws.batch_buffer.bytes
                + ws.state_buffer.bytes + self.e.fused.buffer.bytes)

    @property
    def resident_bytes(self):
        """nbytes less a large buffer for packed weights that the last call did not touch."""
        cdef size_t packed = self.e.ws.weights_buffer.bytes
        untouched = (packed > POOLED_MAX_BYTES and self.e.plan.in_place
                     and params_in_place(&self.e.net))
        return self.nbytes - (packed if untouched else 0)

    def forget(self):
        """Release the data of the last call; for a program that is cached between calls."""
        self.samples.clear()


cdef bint params_in_place(const Network *net) noexcept:
    """True if the user's arrays are in use, of every layer."""
    cdef Py_ssize_t i
    for i in range(net.n_layers):
        if net.layers[i].params.rows and net.layers[i].params.w == net.layers[i].params.packed_w:
            return False
    return True
