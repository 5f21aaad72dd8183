@NullMarked
package io.forkd.files;

import org.jspecify.annotations.NullMarked;
