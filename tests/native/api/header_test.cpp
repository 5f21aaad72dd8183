/* SPDX-License-Identifier: Apache-2.0 */
/* forkd.h compiled alone as C++, warnings as errors; it is enough that this builds. */
#include <forkd/forkd.h>

int main()
{
    return forkd_version()[0] == '0' ? 0 : 1;
}
