package dev.edgepack;

/**
 * A package with what runs it. It is used by one thread at a time, and closed when it is needed no more.
 *
 * <pre>{@code
 * try (Session session = Session.open(getFilesDir() + "/model.epk", 2)) {
 *     session.setPixels(0, pixels);
 *     session.run();
 *     float[] values = session.outputFloats(0);
 * }
 * }</pre>
 *
 * What a call does not do, it says by an {@link EdgepackException}.
 */
public final class Session implements AutoCloseable {
    static {
        System.loadLibrary("edgepack");
    }

    /** Of the native session; 0 when closed. */
    private long handle;

    private Session(long handle) {
        this.handle = handle;
    }

    /**
     * Opens a file, which must not be changed meanwhile.
     *
     * @param path of the package
     * @param threads that share a run, at most 16
     */
    public static Session open(String path, int threads) {
        return new Session(nativeOpen(path, threads));
    }

    /**
     * Copies a package, say one of an app's assets.
     *
     * @param bytes of the package
     * @param threads that share a run, at most 16
     */
    public static Session of(byte[] bytes, int threads) {
        return new Session(nativeOf(bytes, threads));
    }

    /** Sets an input to raw pixels [N, H, W, C], RGB. */
    public synchronized void setPixels(int input, byte[] pixels) {
        nativeSetPixels(handle, input, pixels);
    }

    /** Sets an input to values in the model's own shape. */
    public synchronized void setFloats(int input, float[] values) {
        nativeSetFloats(handle, input, values);
    }

    /** Runs the model on the inputs, all of which are set anew before each run. */
    public synchronized void run() {
        nativeRun(handle);
    }

    /** The bytes of an output of the last run, little-endian. */
    public synchronized byte[] outputBytes(int output) {
        return nativeOutput(handle, output);
    }

    /** An output of floats. */
    public float[] outputFloats(int output) {
        byte[] bytes = outputBytes(output);
        float[] values = new float[bytes.length / 4];
        java.nio.ByteBuffer.wrap(bytes).order(java.nio.ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(values);
        return values;
    }

    /** How many samples of the package gave the workstation's outputs, bit for bit; throws where one did not. */
    public synchronized int selftest() {
        return nativeSelftest(handle);
    }

    /** The instruction sets in use. */
    public synchronized String isa() {
        return nativeIsa(handle);
    }

    /** Frees the native memory; a second time is nothing. */
    @Override
    public synchronized void close() {
        nativeFree(handle);
        handle = 0;
    }

    private static native long nativeOpen(String path, int threads);

    private static native long nativeOf(byte[] bytes, int threads);

    private static native void nativeSetPixels(long handle, int input, byte[] pixels);

    private static native void nativeSetFloats(long handle, int input, float[] values);

    private static native void nativeRun(long handle);

    private static native byte[] nativeOutput(long handle, int output);

    private static native int nativeSelftest(long handle);

    private static native String nativeIsa(long handle);

    private static native void nativeFree(long handle);
}
