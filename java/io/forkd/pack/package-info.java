/** The pack format: snapshots in one file, read and written. What is read is hostile. */
@NullMarked
package io.forkd.pack;

import org.jspecify.annotations.NullMarked;
