package io.forkd.vmm;

import io.forkd.vmm.Native.forkd_watch;
import java.time.Duration;
import java.util.Optional;
import java.util.OptionalLong;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.javacpp.PointerScope;

/** A watch of libforkd. */
final class NativeWatch implements ProcessWatch {
    private final forkd_watch handle;

    NativeWatch(forkd_watch handle) {
        this.handle = handle;
    }

    @Override
    public boolean add(int pid, long startTime, long token) {
        Optional<NativeError> error = Library.attempt(e -> Native.forkd_watch_add(handle, pid, startTime, token, e));
        if (error.isPresent() && error.get().code() != NativeError.ESRCH) {
            throw new VmmException(error.get());
        }
        return error.isEmpty();
    }

    @Override
    public OptionalLong await(Duration timeout) {
        try (PointerScope scope = new PointerScope()) {
            LongPointer token = new LongPointer(1);
            boolean known = NativeVm.inTime(Library.attempt(
                    e -> Native.forkd_watch_wait(handle, Math.toIntExact(timeout.toMillis()), token, e)));
            return known ? OptionalLong.of(token.get()) : OptionalLong.empty();
        }
    }

    @Override
    public void close() {
        Native.forkd_watch_free(handle);
    }
}
