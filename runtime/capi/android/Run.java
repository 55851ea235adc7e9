import dev.edgepack.EdgepackException;
import dev.edgepack.Session;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;

/** Runs a package on raw pixels and writes its outputs, as the example in C: Run PACKAGE PIXELS OUTPUTS. */
final class Run {
    /** Whether a call throws, with this word in its message. */
    private static void refused(String word, Runnable call) {
        try {
            call.run();
        } catch (EdgepackException error) {
            if (error.getMessage().contains(word)) {
                return;
            }
            throw error;
        }
        throw new AssertionError("not refused: " + word);
    }

    public static void main(String[] args) throws IOException {
        byte[] pixels = Files.readAllBytes(Path.of(args[1]));
        ByteArrayOutputStream outputs = new ByteArrayOutputStream();
        refused("/no/such.epk", () -> Session.open("/no/such.epk", 1));
        refused("memory", () -> Session.of(new byte[100], 1));
        Session closed = Session.of(Files.readAllBytes(Path.of(args[0])), 1);
        closed.close();
        closed.close();
        refused("NULL", closed::run);
        try (Session session = Session.open(args[0], 2)) {
            System.out.println(session.selftest() + " samples tested on " + session.isa());
            refused("`count`", () -> session.setPixels(0, new byte[3]));
            refused("`index` is 7", () -> session.setFloats(7, new float[256]));
            refused("index", () -> session.outputBytes(-1));
            for (int at = 0; at < pixels.length; at += 256) {
                session.setPixels(0, Arrays.copyOfRange(pixels, at, at + 256));
                session.run();
                outputs.write(session.outputBytes(0));
            }
            System.out.println(session.outputFloats(0).length + " values an output");
        }
        Files.write(Path.of(args[2]), outputs.toByteArray());
    }
}
