package io.forkd.hub;

import io.forkd.ForkdException;
import io.forkd.engine.Arriving;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.snapshot.LayerFile;
import io.forkd.snapshot.Manifest;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * A snapshot that can be forked while its memory and its root disk are fetched: what nobody has fetched yet is as soon as
 * somebody reads it. Nothing is seen before its content has been looked at.
 */
final class LazyStart implements AutoCloseable {
    /** How often it is looked whether somebody still wants it. */
    private static final long LOOK_NANOS = 1_000_000_000;

    /** A file that is fetched, and in which file that is done. */
    record Fetched(ChunkedFile chunks, Path file) {}

    private record Piece(int file, int piece) {}

    private final ChunkFetcher fetcher;
    private final List<Fetched> files;
    private final Pager pager;
    private final Map<Integer, List<Piece>> pieces = new HashMap<>();
    private volatile Optional<Arriving> arriving = Optional.empty();
    private volatile long looked = System.nanoTime();

    /** @param files the memory of all links first */
    LazyStart(Engine engine, ChunkFetcher fetcher, List<Fetched> files) {
        this.fetcher = fetcher;
        this.files = List.copyOf(files);
        for (int i = 0; i < files.size(); i++) {
            List<Integer> chunks = files.get(i).chunks().chunks();
            for (int piece = 0; piece < chunks.size(); piece++) {
                pieces.computeIfAbsent(chunks.get(piece), none -> new ArrayList<>())
                        .add(new Piece(i, piece));
            }
        }
        this.pager = Pager.start(
                engine.pagerBinary(),
                files.stream()
                        .map(each -> new Pager.Served(each.file(), each.chunks().piece()))
                        .toList(),
                this::want);
        fetcher.onArrival(this::arrived);
        for (Map.Entry<Integer, List<Piece>> each : pieces.entrySet()) {
            if (fetcher.has(each.getKey())) {
                each.getValue().forEach(piece -> pager.have(piece.file(), piece.piece()));
            }
        }
    }

    private void want(int file, int piece) {
        if (file < files.size() && piece < files.get(file).chunks().chunks().size()) {
            fetcher.demand(files.get(file).chunks().chunks().get(piece));
        }
    }

    private void arrived(int chunk) {
        pieces.getOrDefault(chunk, List.of()).forEach(piece -> pager.have(piece.file(), piece.piece()));
        long now = System.nanoTime();
        if (now - looked > LOOK_NANOS) {
            looked = now;
            arriving.ifPresent(Arriving::requireUnchanged);
        }
    }

    /** Chunks that have something of these pages of memory. */
    List<Integer> chunksOf(BitSet pages) {
        ChunkedFile memory = files.get(0).chunks();
        Set<Integer> chunks = new LinkedHashSet<>();
        int perPiece = memory.piece() / LayerFile.PAGE;
        for (int page = pages.nextSetBit(0); page >= 0; page = pages.nextSetBit((page / perPiece + 1) * perPiece)) {
            if (page / perPiece < memory.chunks().size()) {
                int number = memory.chunks().get(page / perPiece);
                if (!fetcher.has(number)) {
                    chunks.add(number);
                }
            }
        }
        return List.copyOf(chunks);
    }

    /** Where a file can be opened that is not all there. */
    Path path(int file) {
        return pager.path(file);
    }

    /** From now on there are children. */
    void begin(Engine engine, Arriving.Source source, boolean replace, Call call) {
        arriving = Optional.of(engine.arriving(source, replace, call));
        pager.letGo();
    }

    /** Everything is in the files. */
    void fetched() {
        pager.complete();
    }

    /** Makes it a snapshot like any other, whose files are in that folder. */
    void complete(Path staged, Manifest manifest) {
        arriving.orElseThrow().complete(staged, manifest);
    }

    /** What is not here yet will not come. */
    void failed(ForkdException why) {
        arriving.ifPresent(each -> each.failed(why.sentence()));
    }

    @Override
    public void close() {
        arriving.ifPresent(Arriving::close);
        pager.close();
    }
}
