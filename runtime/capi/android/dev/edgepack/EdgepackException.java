package dev.edgepack;

/** What the library did not do, and why. */
public final class EdgepackException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /** @param message what was wrong, and what to do about it */
    public EdgepackException(String message) {
        super(message);
    }
}
