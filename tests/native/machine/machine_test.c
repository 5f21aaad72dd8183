/* SPDX-License-Identifier: Apache-2.0 */
/* What of a machine needs no VM. */
#include "machine/machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* After what it needs. */
#include <cmocka.h>

static int thawed;

static void on_thawed(struct machine *machine)
{
    (void)machine;
    thawed++;
}

/* A pause that fails, as when a disk cannot be flushed, leaves it frozen. */
static void resume_thaws_what_no_pause_has(void **state)
{
    (void)state;
    struct machine machine = {.paused = true, .frozen = true, .thawed = on_thawed};
    pthread_cond_init(&machine.unparked, NULL);
    machine_resume(&machine);
    assert_false(machine.frozen);
    assert_false(machine.paused);
    assert_int_equal(thawed, 1);
    machine_resume(&machine);
    assert_int_equal(thawed, 1);
    pthread_cond_destroy(&machine.unparked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(resume_thaws_what_no_pause_has)};
    return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
