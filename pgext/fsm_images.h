/* fsm_images.h: free space maps survive a restart of the compute */
#ifndef VARVE_FSM_IMAGES_H
#define VARVE_FSM_IMAGES_H

/* both in the evictor only */
extern void fsm_images_after_checkpoint(void);
extern void fsm_images_before_stop(void);

#endif
