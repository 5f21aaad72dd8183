package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.files.OwnedDirectory;
import io.forkd.image.ImageReference.DockerArchive;
import io.forkd.image.ImageReference.DockerDaemon;
import io.forkd.image.ImageReference.InRegistry;
import io.forkd.image.ImageReference.OciArchive;
import io.forkd.image.ImageReference.OciLayout;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Finds images, wherever a reference says that they are. What it has opened is open until it is closed. */
public final class Images implements AutoCloseable {
    private static final String STAGING = ".daemon-";

    private final Path cache;
    private final BlobStore store;
    private final Platform platform;
    private final Reach reach;
    private final Map<String, String> environment;
    private final Work work;
    private final LayerPulls pulls;
    private final List<AutoCloseable> open = new ArrayList<>();

    public Images(Path cache, Platform platform, Reach reach, Map<String, String> environment, Work work) {
        this.cache = cache;
        this.store = new BlobStore(cache);
        this.platform = platform;
        this.reach = reach;
        this.environment = environment;
        this.work = work;
        this.pulls = new LayerPulls(store, work);
    }

    /** Looks an image up. Of a registry's image only its documents are read; its layers wait for being fetched. */
    public Image find(ImageReference reference) {
        Lookup lookup = new Lookup(reference, platform);
        if (reference instanceof InRegistry image) {
            RegistryClient registry = new RegistryClient(image, reach, environment, work);
            open.add(registry);
            return pulls.ask(() -> new RegistryImage(image, registry, store, work).find(lookup, pulls));
        }
        if (reference instanceof OciLayout layout) {
            return new LayoutImages(new DirectoryFiles(layout.directory())).find(layout.name(), lookup);
        }
        if (reference instanceof OciArchive archive) {
            return new LayoutImages(archive(archive.file())).find(archive.name(), lookup);
        }
        if (reference instanceof DockerArchive archive) {
            return new SavedImages(archive(archive.file())).find(archive.name(), lookup);
        }
        DockerDaemon daemon = (DockerDaemon) reference;
        return new SavedImages(archive(saveFromDaemon(daemon))).findAsked(daemon.name(), lookup);
    }

    /** Fails unless a registry has all of an image, which its digest names, at this moment. */
    public void requireThere(InRegistry image) {
        RegistryClient registry = new RegistryClient(image, reach, environment, work);
        open.add(registry);
        pulls.ask(() -> {
            new RegistryImage(image, registry, store, work).requireThere(new Lookup(image, platform));
            return true;
        });
    }

    private ArchiveFiles archive(Path file) {
        ArchiveFiles archive = ArchiveFiles.open(file);
        open.add(archive);
        return archive;
    }

    private Path saveFromDaemon(DockerDaemon reference) {
        try {
            Files.createDirectories(cache);
            OwnedDirectory.sweep(cache, STAGING);
            OwnedDirectory staging = OwnedDirectory.create(cache, STAGING);
            open.add(staging);
            Path file = staging.path().resolve("saved.tar");
            work.begin("Taking " + reference.name() + " from the Docker daemon", 0);
            DockerSocket.save(reference.name(), file, environment, work);
            return file;
        } catch (IOException e) {
            throw ForkdException.of("keep what the Docker daemon sends in " + cache, e);
        }
    }

    /** Nothing of a pull that was not finished is left. */
    @Override
    public void close() {
        for (AutoCloseable one : open) {
            try {
                one.close();
            } catch (Exception e) {
                // It was only read from.
            }
        }
        pulls.close(); // After the connections that they may wait for.
    }
}
