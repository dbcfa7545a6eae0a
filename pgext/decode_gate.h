/* decode_gate.h: logical decoding sees what a quorum has */
#ifndef VARVE_DECODE_GATE_H
#define VARVE_DECODE_GATE_H

extern void decode_gate_install(void);

#endif
