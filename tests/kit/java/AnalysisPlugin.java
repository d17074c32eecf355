package longshore;

import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.email.UAX29URLEmailTokenizer;
import org.apache.lucene.analysis.miscellaneous.RemoveDuplicatesTokenFilter;
import org.apache.lucene.analysis.pattern.PatternCaptureGroupTokenFilter;
import org.elasticsearch.index.analysis.PreConfiguredTokenFilter;
import org.elasticsearch.index.analysis.PreConfiguredTokenizer;
import org.elasticsearch.index.analysis.TokenFilterFactory;
import org.elasticsearch.indices.analysis.AnalysisModule.AnalysisProvider;
import org.elasticsearch.plugins.Plugin;

/**
 * What the index of users and API keys is analysed with, for tests/stack. The distribution for integration tests has security,
 * but not the module analysis-common, and without these three that index cannot be made. What they do is Lucene's work.
 */
public class AnalysisPlugin extends Plugin implements org.elasticsearch.plugins.AnalysisPlugin {
    @Override
    public Map<String, AnalysisProvider<TokenFilterFactory>> getTokenFilters() {
        return Map.of(
            "pattern_capture",
            org.elasticsearch.plugins.AnalysisPlugin.requiresAnalysisSettings((index, environment, name, settings) -> {
                boolean keeps = settings.getAsBoolean("preserve_original", true);
                Pattern[] patterns = settings.getAsList("patterns").stream().map(Pattern::compile).toArray(Pattern[]::new);
                return new Filter(name) {
                    @Override
                    public TokenStream create(TokenStream tokens) {
                        return new PatternCaptureGroupTokenFilter(tokens, keeps, patterns);
                    }
                };
            }),
            "unique",
            (index, environment, name, settings) -> new Filter(name) {
                @Override
                public TokenStream create(TokenStream tokens) {
                    return new RemoveDuplicatesTokenFilter(tokens);
                }
            }
        );
    }

    @Override
    public List<PreConfiguredTokenFilter> getPreConfiguredTokenFilters() {
        return List.of(PreConfiguredTokenFilter.singleton("unique", false, RemoveDuplicatesTokenFilter::new));
    }

    @Override
    public List<PreConfiguredTokenizer> getPreConfiguredTokenizers() {
        return List.of(PreConfiguredTokenizer.singleton("uax_url_email", UAX29URLEmailTokenizer::new));
    }

    private abstract static class Filter implements TokenFilterFactory {
        private final String name;

        Filter(String name) {
            this.name = name;
        }

        @Override
        public String name() {
            return name;
        }
    }
}
