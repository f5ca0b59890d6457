import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.WindowStore;

/**
 * Counts flights and adds up their delays, by distance and by the half hour of their departure.
 *
 * <p>Each flight makes one record of the output topic: key {@code band@window}, value
 * {@code count,sum}, where band is the distance in hundreds of miles and window the first
 * millisecond of the half hour. So that flights of a band meet in one task they go through a
 * topic of their own. Late flights are never dropped. The argument is a file of properties.
 */
public final class Delays {
    private static final Duration WINDOW = Duration.ofMinutes(30);
    private static final ObjectMapper JSON = new ObjectMapper();

    private Delays() { }

    public static void main(String[] args) throws IOException {
        Properties config = new Properties();
        try (var in = Files.newInputStream(Path.of(args[0]))) {
            config.load(in);
        }
        StreamsBuilder builder = new StreamsBuilder();
        build(builder, config.getProperty("input.topic"), config.getProperty("output.topic"));
        @SuppressWarnings("resource") // closed by the hook
        KafkaStreams streams = new KafkaStreams(builder.build(config), config);
        streams.setUncaughtExceptionHandler(e -> {
            e.printStackTrace();
            return StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        streams.setStateListener((now, before) -> System.out.println("state " + now));
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }

    private static void build(StreamsBuilder builder, String input, String output) {
        Serde<String> text = Serdes.String();
        builder.stream(input, Consumed.with(text, text))
            .selectKey((key, flight) -> Integer.toString(parse(flight).get("distance").asInt() / 100))
            .groupByKey(Grouped.with("by-band", text, text))
            .windowedBy(TimeWindows.ofSizeAndGrace(WINDOW, Duration.ofDays(2)))
            .aggregate(() -> "0,0", (band, flight, sums) -> add(sums, parse(flight).get("delay").asLong()),
                Materialized.<String, String, WindowStore<Bytes, byte[]>>as("delays")
                    .withKeySerde(text).withValueSerde(text).withCachingDisabled())
            .toStream((band, sums) -> band.key() + "@" + band.window().start())
            .to(output, Produced.with(text, text));
    }

    private static String add(String sums, long delay) {
        String[] parts = sums.split(",");
        return (Long.parseLong(parts[0]) + 1) + "," + (Long.parseLong(parts[1]) + delay);
    }

    private static JsonNode parse(String flight) {
        try {
            return JSON.readTree(flight);
        } catch (IOException e) {
            throw new UncheckedIOException("not a flight: " + flight, e);
        }
    }
}
