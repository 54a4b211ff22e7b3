# SPDX-License-Identifier: Apache-2.0
#
# The functions that every room's CMakeLists.txt uses:
#
#   hvsim_module(NAME SRCS ... [DEPS ...] [WHOLE])          static library hvsim_NAME
#   hvsim_program(NAME SRCS ... [DEPS ...])                 executable bin/NAME
#   hvsim_test(NAME SRCS ... [DEPS ...] [LABELS ...])       GoogleTest binary bin/test_NAME, each TEST known to ctest
#   hvsim_fuzzer(NAME SRCS ... [DEPS ...])                  libFuzzer binary bin/fuzz_NAME (preset fuzz only)
#   hvsim_hv_library(NAME SRCS ... [DEFINES ...] [PLAIN])   lib/libNAME.so (instrumented), or static hvsim_NAME (PLAIN)
#   hvsim_guest_programs(TARGET SRCS ...)                   lib/TARGET/NAME.so of each NAME.c (instrumented)
#   hvsim_guest_images(TARGET SRCS ...)                     lib/TARGET/NAME.elf of each NAME.S: machine code, multiboot
#
# DEPS name modules (mem), the libraries systemc, capstone, dw, sqlite3, cyaml, yaml, m, or any CMake target. They may be
# defined later or in another room.
#
# WHOLE: every object of the module goes into each executable, even if nothing names it. Modules which implement
# hw_* or the __tsan_* hooks need it: only libhv.so, opened at run time, names those.

include_guard(GLOBAL)
include(GoogleTest)
find_package(PkgConfig REQUIRED)

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/bin ${CMAKE_BINARY_DIR}/lib)

# ---------------------------------------------------------------------------------------------------------------
# Libraries that are not ours. Each becomes hvsim_<name>, so that DEPS can name it like a module.

function(hvsim_find_package name pkg)
    pkg_check_modules(hvsim_pkg_${name} REQUIRED IMPORTED_TARGET GLOBAL ${pkg})
    add_library(hvsim_${name} INTERFACE)
    target_link_libraries(hvsim_${name} INTERFACE PkgConfig::hvsim_pkg_${name})
endfunction()

hvsim_find_package(systemc systemc)
hvsim_find_package(capstone capstone)
hvsim_find_package(dw libdw)
hvsim_find_package(sqlite3 sqlite3)
hvsim_find_package(cyaml libcyaml)
hvsim_find_package(yaml yaml-0.1)
# An independent emulator, for differential tests only.
pkg_check_modules(hvsim_pkg_unicorn IMPORTED_TARGET GLOBAL unicorn)
if(hvsim_pkg_unicorn_FOUND)
    add_library(hvsim_unicorn INTERFACE)
    target_link_libraries(hvsim_unicorn INTERFACE PkgConfig::hvsim_pkg_unicorn)
else()
    message(STATUS "Unicorn is not installed: building no differential tests")
endif()
find_package(Threads REQUIRED)
# Without GoogleTest (a user who only runs scenarios) there are no tests; `./dev test` installs it.
find_package(GTest QUIET)
if(NOT GTest_FOUND)
    message(STATUS "GoogleTest is not installed: building no tests")
endif()

# ---------------------------------------------------------------------------------------------------------------
# Flags of everything that runs on the host.

add_library(hvsim_flags INTERFACE)
target_compile_options(hvsim_flags INTERFACE
    -Wall -Wextra -Werror -Wshadow
    $<$<COMPILE_LANGUAGE:C>:-Wconversion$<SEMICOLON>-Wno-sign-conversion$<SEMICOLON>-Wstrict-prototypes$<SEMICOLON>-Wmissing-prototypes$<SEMICOLON>-Wcast-qual>
    # Cutting off is what snprintf() is there for.
    $<$<OR:$<C_COMPILER_ID:GNU>,$<CXX_COMPILER_ID:GNU>>:-Wno-format-truncation>
    # assert(!"what went wrong") is how a place that cannot be reached says so.
    $<$<OR:$<C_COMPILER_ID:Clang>,$<CXX_COMPILER_ID:Clang>>:-Wno-string-conversion>
    -fno-strict-aliasing -fno-omit-frame-pointer
    -ffile-prefix-map=${CMAKE_SOURCE_DIR}/=)
target_include_directories(hvsim_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_definitions(hvsim_flags INTERFACE _GNU_SOURCE)

if(HVSIM_SANITIZE)
    add_compile_options(-fsanitize=${HVSIM_SANITIZE} -fno-sanitize-recover=all)
    add_link_options(-fsanitize=${HVSIM_SANITIZE})
endif()
if(HVSIM_FUZZ)
    add_compile_options(-fsanitize=fuzzer-no-link)
    add_custom_target(fuzzers)
endif()

# Each name becomes "the module of that name if there is one, else the thing itself", decided after every room
# was read.
function(hvsim_resolve_deps out)
    set(resolved "")
    foreach(dep IN LISTS ARGN)
        list(APPEND resolved "$<IF:$<TARGET_EXISTS:hvsim_${dep}>,hvsim_${dep},${dep}>")
    endforeach()
    set(${out} "${resolved}" PARENT_SCOPE)
endfunction()

# ---------------------------------------------------------------------------------------------------------------
function(hvsim_module name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "WHOLE" "" "SRCS;DEPS")
    if(arg_UNPARSED_ARGUMENTS OR NOT arg_SRCS)
        message(FATAL_ERROR "hvsim_module(${name}): want SRCS, [DEPS], [WHOLE]; got ${arg_UNPARSED_ARGUMENTS}")
    endif()
    hvsim_resolve_deps(deps ${arg_DEPS})
    set(library hvsim_${name})
    if(arg_WHOLE)
        set(library hvsim_${name}_objects)
        add_library(hvsim_${name} INTERFACE)
        target_link_libraries(hvsim_${name} INTERFACE $<LINK_LIBRARY:WHOLE_ARCHIVE,${library}> hvsim_flags ${deps})
    endif()
    add_library(${library} STATIC ${arg_SRCS})
    target_link_libraries(${library} PUBLIC hvsim_flags ${deps})
endfunction()

function(hvsim_program name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SRCS;DEPS")
    if(arg_UNPARSED_ARGUMENTS OR NOT arg_SRCS)
        message(FATAL_ERROR "hvsim_program(${name}): want SRCS, [DEPS]; got ${arg_UNPARSED_ARGUMENTS}")
    endif()
    hvsim_resolve_deps(deps ${arg_DEPS})
    # A target of the same name as a module (hvsim) is allowed: modules are hvsim_<name>.
    add_executable(${name} ${arg_SRCS})
    target_link_libraries(${name} PRIVATE hvsim_flags ${deps} ${CMAKE_DL_LIBS})
    # libhv.so finds hw_* and the instrumentation hooks in the executable.
    set_target_properties(${name} PROPERTIES ENABLE_EXPORTS ON LINKER_LANGUAGE CXX)
endfunction()

function(hvsim_test name)
    if(NOT GTest_FOUND OR HVSIM_FUZZ)
        return()
    endif()
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT" "SRCS;DEPS;LABELS")
    if(arg_UNPARSED_ARGUMENTS OR NOT arg_SRCS)
        message(FATAL_ERROR "hvsim_test(${name}): want SRCS, [DEPS], [LABELS], [TIMEOUT]; got ${arg_UNPARSED_ARGUMENTS}")
    endif()
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 120)
    endif()
    hvsim_program(test_${name} SRCS ${arg_SRCS} DEPS ${arg_DEPS} hvsim_shim)
    # Skips are told by exit status: the pattern that gtest_discover_tests() would use also turns a failed test
    # which prints it into a skipped one.
    set(properties TIMEOUT ${arg_TIMEOUT} SKIP_RETURN_CODE 77 SKIP_REGULAR_EXPRESSION "^no such line$")
    if(arg_LABELS)
        list(JOIN arg_LABELS " " labels)
        list(APPEND properties LABELS ${labels})
    endif()
    gtest_discover_tests(test_${name}
        DISCOVERY_MODE PRE_TEST
        DISCOVERY_TIMEOUT 60
        TEST_PREFIX "${name}/"
        WORKING_DIRECTORY ${CMAKE_BINARY_DIR}
        PROPERTIES ${properties})
endfunction()

function(hvsim_fuzzer name)
    if(NOT HVSIM_FUZZ)
        return()
    endif()
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SRCS;DEPS")
    hvsim_program(fuzz_${name} SRCS ${arg_SRCS} DEPS ${arg_DEPS})
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
    add_dependencies(fuzzers fuzz_${name})
endfunction()

# ---------------------------------------------------------------------------------------------------------------
# The hypervisor core. Always by the same compiler with the same flags, whatever builds the simulator: libhv.so is
# an input of a run, and equal sources must give equal bytes (build id) in any directory.

find_program(HVSIM_HV_CC NAMES gcc-12 gcc REQUIRED DOC "Compiler of libhv.so (gcc)")

# All that hv/ can include: hv/ and spec/, nothing else.
set(HVSIM_HV_ROOT ${CMAKE_BINARY_DIR}/hvroot)
file(MAKE_DIRECTORY ${HVSIM_HV_ROOT})
foreach(folder hv spec)
    file(CREATE_LINK ${CMAKE_SOURCE_DIR}/${folder} ${HVSIM_HV_ROOT}/${folder} SYMBOLIC)
endforeach()

set(HVSIM_HV_FLAGS
    -std=c11 -O2 -g -gno-record-gcc-switches -fPIC -ffreestanding
    -Wall -Wextra -Werror -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes -Wmissing-prototypes
    -fno-stack-protector -fno-asynchronous-unwind-tables -fno-strict-aliasing -fcf-protection=none
    -fno-tree-loop-distribute-patterns -fno-common -fvisibility=hidden
    # Registers of the FPU and of SSE belong to guests.
    -mgeneral-regs-only
    # The hooks through which models/cpu/native sees every block and every access.
    # Fences too: gcc warns of them only because its own runtime ignores them.
    -fsanitize=thread -fsanitize-coverage=trace-pc -Wno-tsan
    # The last one that matches counts.
    -ffile-prefix-map=${CMAKE_SOURCE_DIR}/= -ffile-prefix-map=${CMAKE_BINARY_DIR}=.)

set(HVSIM_HV_LINK_FLAGS
    -shared -nostdlib
    -Wl,--unresolved-symbols=ignore-all
    -Wl,-Ttext-segment=0x200000000000
    -Wl,--build-id=sha1
    # Bound at load: no lazily written PLT slot is left once the code runs.
    -Wl,-z,now -Wl,-z,relro -Wl,-z,noexecstack -Wl,--hash-style=gnu)

function(hvsim_hv_library name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "PLAIN" "" "SRCS;DEFINES")
    if(arg_UNPARSED_ARGUMENTS OR NOT arg_SRCS)
        message(FATAL_ERROR "hvsim_hv_library(${name}): want SRCS, [DEFINES], [PLAIN]; got ${arg_UNPARSED_ARGUMENTS}")
    endif()
    set(sources "")
    foreach(src IN LISTS arg_SRCS)
        file(REAL_PATH ${src} path BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
        file(RELATIVE_PATH path ${CMAKE_SOURCE_DIR} ${path})
        if(NOT path MATCHES "^(hv|spec)/")
            message(FATAL_ERROR "hvsim_hv_library(${name}): ${path} is outside hv/ and spec/")
        endif()
        list(APPEND sources ${path})
    endforeach()
    if(arg_PLAIN)
        hvsim_hv_plain(${name} "${sources}" "${arg_DEFINES}")
    else()
        hvsim_hv_shared(${name} "${sources}" "${arg_DEFINES}")
    endif()
endfunction()

function(hvsim_hv_shared name sources defines)
    set(objects "")
    # By relative names: a compiler cache with a base directory (CCACHE_BASEDIR) would make them of absolute ones,
    # which no prefix map then matches.
    file(RELATIVE_PATH root ${CMAKE_CURRENT_BINARY_DIR} ${HVSIM_HV_ROOT})
    list(TRANSFORM defines PREPEND -D)
    foreach(src IN LISTS sources)
        set(object ${CMAKE_BINARY_DIR}/hvobj/${name}/${src}.o)
        get_filename_component(folder ${object} DIRECTORY)
        file(MAKE_DIRECTORY ${folder})
        add_custom_command(OUTPUT ${object}
            COMMAND ${HVSIM_HV_CC} ${HVSIM_HV_FLAGS} -ffile-prefix-map=${root}/= ${defines} -I${root} -MD -MF ${object}.d
                    -c ${root}/${src} -o ${object}
            DEPENDS ${CMAKE_SOURCE_DIR}/${src} ${CMAKE_SOURCE_DIR}/cmake/hvsim.cmake
            DEPFILE ${object}.d
            COMMENT "Compiling ${src} for lib${name}.so"
            VERBATIM)
        list(APPEND objects ${object})
    endforeach()
    set(library ${CMAKE_BINARY_DIR}/lib/lib${name}.so)
    add_custom_command(OUTPUT ${library}
        COMMAND ${HVSIM_HV_CC} ${HVSIM_HV_LINK_FLAGS} -Wl,-soname,lib${name}.so -o ${library} ${objects}
        DEPENDS ${objects}
        COMMENT "Linking lib/lib${name}.so"
        COMMAND_EXPAND_LISTS VERBATIM)
    add_custom_target(hvlib_${name} ALL DEPENDS ${library})
endfunction()

# The same sources for unit tests against a fake hv/hw and for the speed yardstick: the simulator's own compiler
# and sanitizers, no hooks, still only hv/ and spec/ to include.
function(hvsim_hv_plain name sources defines)
    set(paths "")
    foreach(src IN LISTS sources)
        list(APPEND paths ${CMAKE_SOURCE_DIR}/${src})
    endforeach()
    add_library(hvsim_${name} STATIC ${paths})
    target_include_directories(hvsim_${name} PRIVATE ${HVSIM_HV_ROOT})
    # Public: what a switch changes in a header, it changes for tests too.
    target_compile_definitions(hvsim_${name} PUBLIC ${defines})
    # The core brings its own; under their own names they would also replace the C library's for GoogleTest and the
    # sanitizers. Public, so that a test which calls memcpy() tests the core's.
    foreach(function memcpy memmove memset memcmp strlen strcmp)
        target_compile_definitions(hvsim_${name} PUBLIC ${function}=hv_plain_${function})
    endforeach()
    target_compile_options(hvsim_${name} PRIVATE -ffreestanding -fno-builtin -fno-strict-aliasing
        -Wall -Wextra -Werror -Wshadow -Wconversion -Wno-sign-conversion
        $<$<C_COMPILER_ID:GNU>:-fno-tree-loop-distribute-patterns>)
endfunction()

# ---------------------------------------------------------------------------------------------------------------
# Native guests: programs for the modelled processors' guests, one source each. By the same compiler as the core and
# instrumented like it; but what the compiler calls for each block and atomic is for the guest's side, so that neither
# runtime has to ask whose code it was called from: the linker turns NAME into __wrap_NAME.

set(hvsim_guest_hooks __sanitizer_cov_trace_pc __tsan_init __tsan_func_entry __tsan_func_exit
    __tsan_read_range __tsan_write_range __tsan_atomic_thread_fence __tsan_atomic_signal_fence)
foreach(bytes 1 2 4 8 16)
    foreach(access read write unaligned_read unaligned_write volatile_read volatile_write read_write)
        list(APPEND hvsim_guest_hooks __tsan_${access}${bytes})
    endforeach()
endforeach()
foreach(bits 8 16 32 64)
    foreach(operation load store exchange fetch_add fetch_sub fetch_and fetch_or fetch_xor fetch_nand
            compare_exchange_strong compare_exchange_weak compare_exchange_val)
        list(APPEND hvsim_guest_hooks __tsan_atomic${bits}_${operation})
    endforeach()
endforeach()
list(TRANSFORM hvsim_guest_hooks PREPEND --wrap= OUTPUT_VARIABLE hvsim_guest_wraps)
list(JOIN hvsim_guest_wraps "\n" hvsim_guest_wraps)
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/guest_hooks.ld CONTENT "${hvsim_guest_wraps}\n" @ONLY)

set(HVSIM_GUEST_FLAGS ${HVSIM_HV_FLAGS} -fno-delete-null-pointer-checks)
set(HVSIM_GUEST_LINK_FLAGS ${HVSIM_HV_LINK_FLAGS} -Wl,@${CMAKE_BINARY_DIR}/guest_hooks.ld)
list(FILTER HVSIM_GUEST_LINK_FLAGS EXCLUDE REGEX "Ttext-segment")

function(hvsim_guest_programs target)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SRCS")
    set(libraries "")
    file(RELATIVE_PATH root ${CMAKE_CURRENT_BINARY_DIR} ${CMAKE_SOURCE_DIR}) # As in hvsim_hv_shared().
    file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/lib/${target} ${CMAKE_BINARY_DIR}/guestobj)
    foreach(src IN LISTS arg_SRCS)
        file(REAL_PATH ${src} path BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
        file(RELATIVE_PATH path ${CMAKE_SOURCE_DIR} ${path})
        get_filename_component(name ${path} NAME_WE)
        set(library ${CMAKE_BINARY_DIR}/lib/${target}/${name}.so)
        set(object ${CMAKE_BINARY_DIR}/guestobj/${name}.o)
        add_custom_command(OUTPUT ${library}
            COMMAND ${HVSIM_HV_CC} ${HVSIM_GUEST_FLAGS} -ffile-prefix-map=${root}/= -I${root} -MD -MF ${object}.d
                    -MT ${library} -c ${root}/${path} -o ${object}
            COMMAND ${HVSIM_HV_CC} ${HVSIM_GUEST_LINK_FLAGS} -Wl,-soname,${name}.so -o ${library} ${object}
            DEPENDS ${CMAKE_SOURCE_DIR}/${path} ${CMAKE_SOURCE_DIR}/cmake/hvsim.cmake
            DEPFILE ${object}.d
            COMMENT "Building lib/${target}/${name}.so"
            VERBATIM)
        list(APPEND libraries ${library})
    endforeach()
    add_custom_target(${target} ALL DEPENDS ${libraries})
endfunction()

# ---------------------------------------------------------------------------------------------------------------
# Guests that are machine code: a 32-bit ELF file with a multiboot header, whatever code it then runs.
function(hvsim_guest_images target)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SRCS")
    set(images "")
    file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/lib/${target} ${CMAKE_BINARY_DIR}/guestobj)
    foreach(src IN LISTS arg_SRCS)
        file(REAL_PATH ${src} path BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
        get_filename_component(name ${path} NAME_WE)
        get_filename_component(folder ${path} DIRECTORY)
        set(image ${CMAKE_BINARY_DIR}/lib/${target}/${name}.elf)
        set(object ${CMAKE_BINARY_DIR}/guestobj/${name}.image.o)
        # Assembled as 64-bit code, which can hold all kinds, linked, and wrapped as 32-bit ELF, which multiboot wants. What
        # was linked stays as NAME.sym, for debuggers.
        set(linked ${CMAKE_BINARY_DIR}/lib/${target}/${name}.sym)
        add_custom_command(OUTPUT ${image}
            BYPRODUCTS ${linked}
            COMMAND ${HVSIM_HV_CC} -c -g -ffile-prefix-map=${CMAKE_SOURCE_DIR}/= -x assembler-with-cpp -I${folder} -I${CMAKE_SOURCE_DIR} -MD -MF ${object}.d -MT ${image} ${path} -o ${object}
            COMMAND ${HVSIM_HV_CC} -nostdlib -static -Wl,--build-id=none -Wl,-T,${folder}/image.lds -o ${linked} ${object}
            COMMAND ${CMAKE_OBJCOPY} -O elf32-i386 -S ${linked} ${image}
            DEPENDS ${path} ${folder}/image.lds ${CMAKE_SOURCE_DIR}/cmake/hvsim.cmake
            DEPFILE ${object}.d
            COMMENT "Building lib/${target}/${name}.elf"
            VERBATIM)
        list(APPEND images ${image})
    endforeach()
    add_custom_target(${target} ALL DEPENDS ${images})
endfunction()
