/* SPDX-License-Identifier: Apache-2.0 */
/* forkd.h compiled alone as C17, warnings as errors; it is enough that this builds. */
#include <forkd/forkd.h>

int main(void)
{
    return forkd_version()[0] == '0' ? 0 : 1;
}
