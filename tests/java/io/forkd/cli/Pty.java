package io.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** Somebody at a terminal: forkd in a process of its own, whose terminal is typed into and looked at. */
final class Pty {
    /**
     * The steps are "expect:TEXT", which is read up to, "send:TEXT", "size:ROWSxCOLUMNS" and "hangup". Prints what was
     * seen; ends as the program did, with 98 when it left the terminal other than it was, and with 99 when it did not do
     * what was expected.
     */
    private static final String DRIVER = """
            import fcntl, os, pty, select, signal, struct, sys, termios, time
            count = int(sys.argv[1])
            steps, command = sys.argv[2:2 + count], sys.argv[2 + count:]
            def size(fd, rows, columns):
                fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
            pid, master = pty.fork()
            if pid == 0:
                size(0, 24, 80)
                os.execvp(command[0], command)
            def open_slave():
                number = struct.unpack('I', fcntl.ioctl(master, 0x80045430, bytes(4)))[0] # TIOCGPTN
                return os.open('/dev/pts/%d' % number, os.O_RDWR | os.O_NOCTTY)
            slave = open_slave()
            before = termios.tcgetattr(slave)
            os.close(slave)
            seen = b''
            start = 0
            def more(end):
                global seen
                if not select.select([master], [], [], max(0, end - time.time()))[0]:
                    return False
                try:
                    data = os.read(master, 65536)
                except OSError:
                    return False
                seen += data
                return data != b''
            def fail(why):
                sys.stdout.buffer.write(seen + b'\\n' + why.encode())
                os.kill(pid, signal.SIGKILL)
                sys.exit(99)
            for step in steps:
                verb, text = (step.split(':', 1) + [''])[:2]
                if verb == 'expect':
                    end = time.time() + 60
                    while seen.find(text.encode(), start) < 0:
                        if not more(end):
                            fail('expected ' + repr(text))
                    start = seen.find(text.encode(), start) + len(text.encode())
                elif verb == 'send':
                    os.write(master, text.encode())
                elif verb == 'size':
                    rows, columns = text.split('x')
                    size(master, int(rows), int(columns))
                elif verb == 'hangup':
                    os.close(master)
            if 'hangup' not in steps:
                slave = open_slave()
                end = time.time() + 60
                status = 0
                while True:
                    ended, status = os.waitpid(pid, os.WNOHANG)
                    if ended:
                        break
                    more(time.time() + 0.05)
                    if time.time() > end:
                        fail('it did not end')
                if termios.tcgetattr(slave) != before:
                    sys.stdout.buffer.write(seen)
                    sys.exit(98)
            else:
                status = os.waitpid(pid, 0)[1]
            sys.stdout.buffer.write(seen)
            sys.stdout.flush()
            sys.exit(os.waitstatus_to_exitcode(status))
            """;

    /** How it ended, and all that was on the screen. */
    record Result(int status, String screen) {}

    private Pty() {}

    /** The command line that starts forkd itself. */
    static List<String> forkd(String... arguments) {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-XX:TieredStopAtLevel=1",
                "-Xmx320m",
                "-cp",
                System.getProperty("java.class.path"),
                Main.class.getName()));
        command.addAll(List.of(arguments));
        return command;
    }

    static Result run(Map<String, String> environment, List<String> steps, String... arguments)
            throws IOException, InterruptedException {
        List<String> command = new ArrayList<>(List.of("python3", "-c", DRIVER, Integer.toString(steps.size())));
        command.addAll(steps);
        command.addAll(forkd(arguments));
        ProcessBuilder builder = new ProcessBuilder(command)
                .redirectInput(Path.of("/dev/null").toFile())
                .redirectErrorStream(true);
        builder.environment().putAll(environment);
        Process process = builder.start();
        try {
            String screen = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            assertThat(process.waitFor(20, TimeUnit.SECONDS)).as(screen).isTrue();
            return new Result(process.exitValue(), screen);
        } finally {
            process.destroyForcibly();
        }
    }
}
