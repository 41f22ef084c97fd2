/* The end of what vector.h began. */
#undef real
#undef FN
#undef LANES
#undef MANTISSA_BITS
#undef EXPONENT_BIAS
#undef C
#undef SHIFT
#undef V
#undef I
#undef U
