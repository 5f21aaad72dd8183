package io.forkd.rootfs;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import io.forkd.image.Layer;
import io.forkd.image.Work;
import io.forkd.rootfs.Directory.Entry;
import io.forkd.rootfs.Tree.Place;
import java.io.IOException;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;

/**
 * Puts layers on one another, as the OCI image specification tells: the content of files goes to the image at once, in
 * the order of the layers; what a later layer hides is given back.
 */
final class Merger {
    private static final String WHITEOUT = ".wh.";
    private static final String OPAQUE = ".wh..wh..opq";
    private static final String AUFS = ".wh..wh.";
    private static final int MAX_FILES = 750_000;
    private static final long MAX_NAME_BYTES = 64L << 20;
    /** What one takes beside its value. */
    private static final int XATTR_BYTES = 32;

    private final Ext4Writer image;
    private final Work work;
    private final Tree tree;
    private int members;
    private long xattrBytes;
    private boolean leftOut;

    Merger(Ext4Writer image, Work work) {
        this.image = image;
        this.work = work;
        this.tree = new Tree(image::drop);
    }

    Tree tree() {
        return tree;
    }

    void apply(Layer layer, Unpacked archive) {
        tree.beginLayer();
        LayerReader reader = new LayerReader(archive);
        try {
            for (Optional<Member> member = reader.next(); member.isPresent(); member = reader.next()) {
                work.check();
                if (++members > MAX_FILES || tree.puts() > MAX_FILES) {
                    throw new BadLayerException("the image has more than " + MAX_FILES + " files");
                }
                if (tree.nameBytes() + xattrBytes > MAX_NAME_BYTES) {
                    throw new BadLayerException(
                            "the names, links and extended attributes of the image have more than 64 MiB");
                }
                apply(member.get(), reader);
            }
            archive.drain();
        } catch (BadLayerException e) {
            throw new ForkdException(
                    Kind.DAMAGED,
                    layer.name() + " is refused at " + Names.text(reader.name()) + ": " + e.getMessage(),
                    e.remedy());
        } catch (IOException e) {
            throw ForkdException.of("read " + layer.name() + " at " + Names.text(reader.name()), e);
        }
    }

    private void apply(Member member, LayerReader reader) throws IOException {
        String last = member.name()
                .substring(member.name().lastIndexOf('/', member.name().length() - 2) + 1);
        if (last.startsWith(WHITEOUT)) {
            hide(member, last);
            return;
        }
        Optional<Place> place = tree.place(member.name(), true);
        if (place.isEmpty()) {
            if (member.type() != Member.Type.DIRECTORY) {
                throw new BadLayerException("it is in place of the root, and no directory");
            }
            describe(tree.root(), member);
        } else if (member.type() == Member.Type.HARD_LINK) {
            link(member, place.get());
        } else {
            Inode inode = member.type() == Member.Type.DIRECTORY
                    ? tree.putDirectory(place.get())
                    : made(member, reader, place.get());
            describe(inode, member);
        }
    }

    private void describe(Inode inode, Member member) throws BadLayerException {
        inode.describe(member);
        inode.xattrs = known(member);
    }

    private void hide(Member member, String last) throws IOException {
        String directory = member.name().substring(0, member.name().length() - last.length());
        if (last.equals(OPAQUE)) {
            if (Names.components(directory).isEmpty()) {
                tree.makeOpaque(tree.root());
                return;
            }
            tree.place(directory, false)
                    .flatMap(Place::entry)
                    .map(Entry::inode)
                    .filter(Directory.class::isInstance)
                    .ifPresent(inode -> tree.makeOpaque((Directory) inode));
        } else if (!last.startsWith(AUFS)) {
            String hidden = last.substring(WHITEOUT.length());
            if (hidden.isEmpty() || hidden.equals(".") || hidden.equals("..")) {
                throw new BadLayerException("it hides no name");
            }
            tree.place(directory + hidden, false).ifPresent(tree::whiteout);
        }
    }

    private void link(Member member, Place place) throws BadLayerException {
        Optional<Place> targetPlace = tree.target(member.link());
        Inode target = targetPlace
                .flatMap(Place::entry)
                .map(Entry::inode)
                .orElseThrow(() ->
                        new BadLayerException("it is a link to " + Names.text(member.link()) + ", which is not there"));
        if (target instanceof Directory) {
            throw new BadLayerException("it is a hard link to the directory " + Names.text(member.link()));
        }
        if (place.directory() == targetPlace.get().directory()
                && place.name().equals(targetPlace.get().name())) {
            throw new BadLayerException("it is a link to itself");
        }
        tree.put(place, target);
    }

    private Inode made(Member member, LayerReader reader, Place place) throws IOException {
        Inode inode = new Inode(member.type());
        switch (member.type()) {
            case FILE -> {
                inode.size = member.size();
                if (member.size() > image.bytes()) {
                    long mib = (member.size() >> 20) + 1;
                    throw new BadLayerException(
                            "it has " + mib + " MiB, and the whole image is to have " + (image.bytes() >> 20),
                            Remedy.Action.LARGER_IMAGE);
                }
                if (member.size() > 0) {
                    inode.blob = image.blob(reader.content(), member.size());
                }
            }
            case SYMLINK -> {
                inode.target = member.link();
                if (member.link().isEmpty() || member.link().length() > 4095) {
                    throw new BadLayerException("it is a link with an empty or too long target");
                }
            }
            case CHARACTER_DEVICE, BLOCK_DEVICE -> {
                inode.major = member.major();
                inode.minor = member.minor();
                if (member.major() < 0 || member.major() > 0xfff || member.minor() < 0 || member.minor() > 0xfffff) {
                    throw new BadLayerException(
                            "its device number " + member.major() + ":" + member.minor() + " is out of range");
                }
            }
            default -> {
                // A fifo has nothing more.
            }
        }
        tree.put(place, inode);
        return inode;
    }

    /** Those that Linux has: an image that was made on another system may bring others, and nothing can read them. */
    private Map<String, byte[]> known(Member member) throws BadLayerException {
        if (member.xattrs().isEmpty()) {
            return Map.of();
        }
        Map<String, byte[]> known = new HashMap<>();
        for (Map.Entry<String, byte[]> xattr : member.xattrs().entrySet()) {
            String name = xattr.getKey();
            String shown = Names.text(Names.ofText(name));
            if (!isKnown(name)) {
                if (!leftOut) {
                    leftOut = true;
                    work.say("Left out: extended attributes that Linux does not have, such as " + shown + " of "
                            + Names.text(member.name()));
                }
                continue;
            }
            if (name.length() > 255 || xattr.getValue().length > 0xffff) {
                throw new BadLayerException("its extended attribute " + shown + " is too large");
            }
            xattrBytes += XATTR_BYTES + xattr.getValue().length;
            known.put(name, xattr.getValue());
        }
        return Map.copyOf(known);
    }

    private static boolean isKnown(String name) {
        return name.startsWith("user.")
                || name.startsWith("security.")
                || name.startsWith("trusted.")
                || name.startsWith("system.posix_acl_");
    }
}
